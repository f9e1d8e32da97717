"""No adaptation: the lower bound that every method is compared with."""

from typing import ClassVar

from torch import nn
from torch.nn import functional as F

from uan_da.data.batch import DomainBatch, View
from uan_da.methods.method import Loss, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier


class SourceOnly(nn.Module):
    """Cross-entropy on labelled source images; the target is never seen."""

    views: ClassVar[tuple[View, ...]] = ("weak",)
    needs: ClassVar[str] = "nothing"
    uses_target: ClassVar[bool] = False

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """CE(f(x_S), y_S) on the weak view."""
        return source_loss(model, batch, progress)


def source_loss(model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
    """CE(f(x_S), y_S) on the weak view of the source, in a forward of its own."""
    (source,) = forward(model, [batch.source.weak], [batch.source.domain], "joint")
    return Loss({"source": F.cross_entropy(source.logits, batch.source.labels)})
