"""Deep CORAL: logits that vary together alike in both domains."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output
from uan_da.norms.forward import widened, without_autocast


class DeepCORAL(TransferMethod):
    r"""Deep correlation alignment (Sun & Saenko, ECCV workshops 2016, arXiv:1607.01719).

    .. math:: L = CE(f(x_S), y_S) + \frac{w}{4d²} ‖C_S − C_T‖²_F

    where C are the covariances ``(d, d)`` of the logits in the batch and d is the number of classes: the paper aligns
    the last layer.

    The paper wants w such that both terms are about equal at the end of the training. Its authors' logs have w = 0.8
    for Office-31's amazon→webcam, the default here, and from 0.05 down to 0.0001 for its other tasks: the second term
    goes with the fourth power of the logits' scale, which differs from task to task.
    """

    def __init__(self, model: Classifier, num_classes: int, *, trade_off: Annotated[float, Field(ge=0)] = 0.8) -> None:
        super().__init__()
        self.trade_off = trade_off

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The squared distance of the covariances, weighted."""
        difference = covariance(source.logits) - covariance(target.logits)
        return Loss({"coral": self.trade_off / 4 * difference.square().mean()})


def covariance(x: Tensor) -> Tensor:
    """The unbiased covariance ``(d, d)`` of ``x`` ``(N, d)``, float32 or wider; 0 for one sample."""
    with without_autocast(x):
        centred = widened(x) - widened(x).mean(0)
        return centred.T @ centred / max(len(x) - 1, 1)
