"""Information maximisation: each prediction on the target sure, all of them together diverse."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy, entropy_of_mean
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier, Output


class InformationMaximization(TransferMethod):
    r"""Information maximisation (Shi & Sha, ICML 2012, arXiv:1206.6438).

    .. math:: L = CE(f(x_S), y_S) + w · \Big[\frac{1}{N_T} \sum_i H(p_i) − H\big(\tfrac{1}{N_T} \sum_i p_i\big)\Big],
        \quad p = softmax f(x_T)

    The bracket is minus the mutual information of image and prediction. Over a batch of a deep network, and with w = 1,
    it is the loss L_ent + L_div of SHOT-IM (Liang et al., ICML 2020, arXiv:2002.08546); the source, which SHOT does
    without, stays here. SHOT's forwards see the target alone, hence one forward per domain. ``diversity`` is a negative
    term. A batch of one image has no mutual information: the loss and its gradient are 0.
    """

    routing: ClassVar[Routing] = "separate"
    on_predictions: ClassVar[bool] = True

    def __init__(self, model: Classifier, num_classes: int, *, trade_off: Annotated[float, Field(ge=0)] = 1.0) -> None:
        super().__init__()
        self.trade_off = trade_off

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """Mean entropy of the target's predictions, minus the entropy of their mean, weighted."""
        return Loss(
            {
                "entropy": self.trade_off * entropy(target.logits).mean(),
                "diversity": -self.trade_off * entropy_of_mean(target.logits),
            }
        )
