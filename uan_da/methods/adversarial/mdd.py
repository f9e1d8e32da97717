"""MDD: the features leave no room for a second head that agrees on the source and disagrees on the target."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.adversarial.gradient_reversal import ReversalSteps, reversal_strength, reverse_gradient
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output


class MDD(TransferMethod):
    r"""Margin disparity discrepancy (Zhang et al., ICML 2019, arXiv:1904.05801).

    .. math:: L = CE(f(x_S), y_S) + w · \big[γ · CE(f'(r_λ(g_S)), \hat y_S) + E(−\log(1 − p'_{\hat y_T}(r_λ(g_T))))\big]

    where g are the features, f′ a second head like the model's with probabilities p′, ŷ the classes that the model
    predicts, without gradient, and r_λ the gradient reversal: f′ learns to agree with the model on the source, with
    the margin log γ, and to disagree on the target; the features learn the opposite.

    From the authors' code, which TLLib follows: γ = 4, λ from 0 to 0.1 over 1000 steps. The paper's heads are networks
    of two layers: the second head here is like the recipe's.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        margin: Annotated[float, Field(ge=1)] = 4.0,
        reversal_steps: ReversalSteps = 1000,
        reversal_high: Annotated[float, Field(ge=0)] = 0.1,
    ) -> None:
        super().__init__()
        self.trade_off, self.margin = trade_off, margin
        self.reversal_steps, self.reversal_high = reversal_steps, reversal_high
        self.adversary = model.new_head()

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """What the second head minimises, and the features, through the reversal, maximise."""
        strength = reversal_strength(progress, self.reversal_steps, self.reversal_high)
        features = reverse_gradient(torch.cat([source.features, target.features]), strength)
        on_source, on_target = self.adversary(features).split([len(source.features), len(target.features)])
        y_source, y_target = (output.logits.argmax(1) for output in (source, target))
        agreement, disagreement = F.cross_entropy(on_source, y_source), not_cross_entropy(on_target, y_target)
        terms = {
            "agreement": self.trade_off * self.margin * agreement,
            "disagreement": self.trade_off * disagreement,
        }
        return Loss(terms, {"reversal": torch.tensor(strength)})


def not_cross_entropy(logits: Tensor, classes: Tensor) -> Tensor:
    """E[−log(1 − p_c)] of ``logits`` ``(N, C)`` and ``classes`` ``(N,)``: small where the prediction is any other
    class.

    From logits, where 1 − p_c is the sum of the others: a p_c that rounds to 1, where this has the most to say, keeps
    its gradient. With one class there is no other, and the loss is 0.
    """
    if logits.shape[1] == 1:
        return logits.sum() * 0.0
    others = logits.scatter(1, classes.unsqueeze(1), -torch.inf).logsumexp(1)
    return (logits.logsumexp(1) - others).mean()
