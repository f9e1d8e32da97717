"""Source only, with the target in the same forward: what shared batch statistics alone do."""

from torch import Tensor

from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output


class Joint(TransferMethod):
    """Source cross-entropy while source and target share the forward; a control, of no paper.

    .. math:: L = CE(f(x_S), y_S)

    The target is in no term, yet it is in the batch statistics of the norms, in their running statistics and in the
    clusters of a mixture norm. The difference to ``source_only`` is what the layer gains by seeing the target; the
    difference of another method to this one is what its terms gain. With ``routing: separate`` the target has a forward
    of its own, and changes running statistics and clusters only.
    """

    parallel = True

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """No term of its own."""
        return Loss({})
