"""Training on the target's own labels: the upper bound, which no adaptation may use."""

from typing import ClassVar

from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier


class TargetOracle(Method):
    """Cross-entropy on the true labels of source and target; an upper bound, of no paper.

    .. math:: L = CE(f(x_S), y_S) + CE(f(x_T), y_T)

    Each domain is a mean of its own, whatever the batch sizes; both share the forward. Target images whose label is
    unknown (−1) are in the batch statistics, but not in the mean.
    """

    needs: ClassVar[str] = "labelled target images"
    reads_target_labels: ClassVar[bool] = True

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """CE(f(x_S), y_S) + CE(f(x_T), y_T) on the weak views."""
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, "joint")
        on_source = F.cross_entropy(source.logits, batch.source.labels)
        return Loss({"source": on_source, "target": _on_known(target.logits, batch.target.labels)})


def _on_known(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the images whose label is known; 0 where there is none."""
    known = (labels >= 0).sum()
    return F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum") / known.clamp_min(1)
