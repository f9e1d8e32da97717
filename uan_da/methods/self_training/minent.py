"""Entropy minimisation: sure predictions on the target."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier, Output


class MinEnt(TransferMethod):
    r"""Entropy minimisation (Grandvalet & Bengio, NIPS 2004).

    .. math:: L = CE(f(x_S), y_S) + w · \frac{1}{N_T} \sum_i H(p_i), \quad p = softmax f(x_T)

    The paper is semi-supervised, with w = λ to be tuned; in domain adaptation it came with RTN (Long et al., NIPS 2016,
    arXiv:1602.04433), whose authors' code has w = 0.1, as AFN's has. Alone it may put the whole target into few
    classes, which costs it nothing: :mod:`~uan_da.methods.self_training.im` and
    :mod:`~uan_da.methods.self_training.bnm` are the remedies. One forward per domain, as BNM's authors train it as
    their baseline.
    """

    routing: ClassVar[Routing] = "separate"
    on_predictions: ClassVar[bool] = True

    def __init__(self, model: Classifier, num_classes: int, *, trade_off: Annotated[float, Field(ge=0)] = 0.1) -> None:
        super().__init__()
        self.trade_off = trade_off

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The weighted mean entropy of the target's predictions."""
        return Loss({"entropy": self.trade_off * entropy(target.logits).mean()})
