"""No adaptation: the lower bound that every method is compared with."""

from typing import ClassVar

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Method, Progress, source_loss
from uan_da.models.classifier import Classifier


class SourceOnly(Method):
    """Cross-entropy on labelled source images; the target is never seen."""

    needs: ClassVar[str] = "nothing"
    uses_target: ClassVar[bool] = False
    parallel = True

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """CE(f(x_S), y_S) on the weak view."""
        return source_loss(model, batch, progress)
