"""The AdaMatch of Keras's example, on which UAN's authors measured their layer."""

import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, View
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier


class AdaMatchKeras(Method):
    r"""AdaMatch of Keras's example (Paul, keras.io, 2021), as the notebook of UAN's authors runs it.

    A control: what the published figures of UAN on MNIST → SVHN were measured with. Where it is not
    :class:`~uan_da.methods.self_training.adamatch.AdaMatch`:

    - z″_S, the source's second forward, is in evaluation mode: by running statistics, without dropout;
    - its distribution alignment is one number, the ratio of the grand means of probabilities, which is 1; the rows are
      then scaled to length one, not to sum one: q̃ = q / ‖q‖₂. So nothing is aligned, every pseudo-label's confidence
      rises (½, ½ has .71), and where q is unsure the pseudo-labels weigh more than the source's labels;
    - μ reaches 1 after the part ``warm_up`` of the training, μ(p) = ½ − ½·cos(min(π, πp / warm_up)): the notebook's
      schedule is made for 10 epochs, and it trains for 100.

    .. math:: L = CE(z_{S,w}, y) + CE(z_{S,s}, y) - μ(p) · E\Big[m \sum_k \tilde q_k \log softmax(z_{T,s})_k\Big]
    """

    views: ClassVar[tuple[View, ...]] = ("weak", "strong")
    needs: ClassVar[str] = "weak and strong views of both domains"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.9,
        warm_up: Annotated[float, Field(gt=0, le=1)] = 0.5,
    ) -> None:
        super().__init__()
        self.threshold, self.warm_up = threshold, warm_up

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch."""
        labels = batch.source.labels
        source_weak, source_strong, target_weak, target_strong = self._logits(model, batch)
        with torch.no_grad():
            pseudo = F.normalize(target_weak.softmax(1), dim=1)
            confidence = self.threshold * source_weak.softmax(1).amax(1).mean()
            mask = (pseudo.amax(1) >= confidence).float()
        on_source = F.cross_entropy(source_weak, labels) + F.cross_entropy(source_strong, labels)
        on_target = -(mask * (pseudo * target_strong.log_softmax(1)).sum(1)).mean()
        weight = 0.5 - 0.5 * math.cos(math.pi * min(1.0, progress.part / self.warm_up))
        return Loss({"source": on_source, "target": weight * on_target}, {"mask": mask.mean()})

    def _logits(self, model: Classifier, batch: DomainBatch) -> list[Tensor]:
        """Logits of source weak, source strong, target weak, target strong; the source's interpolated."""
        source, target = batch.source, batch.target
        images = [source.weak, source.strong, target.weak, target.strong]
        domains = [source.domain, source.domain, target.domain, target.domain]
        joint = [output.logits for output in forward(model, images, domains, "joint")]
        model.eval()
        alone = [output.logits for output in forward(model, images[:2], domains[:2], "joint")]
        model.train()
        mixed = [torch.lerp(z2, z1, torch.rand_like(z1)) for z1, z2 in zip(joint, alone, strict=False)]
        return mixed + joint[2:]
