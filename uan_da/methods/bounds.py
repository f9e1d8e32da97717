"""What methods are compared with: the source alone, both domains in one forward, the target's own labels."""

from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Method, Progress, TransferMethod, source_loss
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier, Output
from uan_da.recipe.classes import SETTINGS


class SourceOnly(Method):
    """Cross-entropy on labelled source images; the target is never seen."""

    needs: ClassVar[str] = "nothing"
    settings = SETTINGS
    uses_target: ClassVar[bool] = False
    parallel = True

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """CE(f(x_S), y_S) on the weak view."""
        return source_loss(model, batch, progress)


class Joint(TransferMethod):
    """Source cross-entropy while source and target share the forward; a control, of no paper.

    .. math:: L = CE(f(x_S), y_S)

    The target is in no term, yet it is in the batch statistics of the norms, in their running statistics and in the
    clusters of a mixture norm. The difference to ``source_only`` is what the layer gains by seeing the target; the
    difference of another method to this one is what its terms gain. With ``routing: separate`` the target has a forward
    of its own, and changes running statistics and clusters only.
    """

    settings = SETTINGS
    parallel = True

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """No term of its own."""
        return Loss({})


class SourceAndTarget(Method):
    r"""S+T, the baseline of semi-supervised adaptation: cross-entropy on source images and labelled target images.

    It is of no paper. Both share the forward.

    .. math:: L = CE(f(x), y) \text{ over both, as one batch}

    The unlabelled target is never seen.
    """

    settings = ("semi_supervised",)
    needs: ClassVar[str] = "some labelled target images"
    parallel = True

    def __init__(self, model: Classifier, num_classes: int) -> None:
        super().__init__()

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """CE on the weak views."""
        return Loss({"labelled": labelled_loss(model, batch)})


def labelled_loss(model: Classifier, batch: DomainBatch) -> Tensor:
    """The mean cross-entropy of the source and of the labelled target, in one forward of their weak views."""
    assert batch.labelled is not None, "the recipe's setting"
    sides = [batch.source, batch.labelled]
    outputs = forward(model, [side.weak for side in sides], [side.domain for side in sides], "joint")
    logits, labels = torch.cat([output.logits for output in outputs]), torch.cat([side.labels for side in sides])
    return F.cross_entropy(logits, labels)


class TargetOracle(Method):
    """Cross-entropy on the true labels of source and target; an upper bound, of no paper.

    .. math:: L = CE(f(x_S), y_S) + CE(f(x_T), y_T)

    Each domain is a mean of its own, whatever the batch sizes; both share the forward. Target images whose label is
    unknown (−1) are in the batch statistics, but not in the mean.
    """

    settings = ("closed_set", "partial")
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
