"""AdaMatch: pseudo-labels of the weak view teach the strong view, aligned and thresholded by the source."""

import math
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.batch import DomainBatch, View
from uan_da.methods.method import Loss, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier
from uan_da.norms import frozen_statistics


class AdaMatch(nn.Module):
    r"""AdaMatch (Berthelot et al., ICLR 2022, arXiv:2106.04732).

    With weak and strong views (w, s) of source and target:

    1. one joint forward of all four, z′_S and z_T; a second one of the source alone, z″_S, on its own batch statistics.
       Only the joint one updates running statistics;
    2. random logit interpolation, for each logit: z_S = u·z′_S + (1 − u)·z″_S, u ~ U(0, 1);
    3. distribution alignment, for each class: q̃ ∝ q · E[softmax z_S,w] / E[q], q = softmax z_T,w, rows summing to one;
    4. relative confidence threshold: m = 1[max q̃ ≥ τ · E[max softmax z_S,w]];
    5. L = CE(z_S,w, y) + CE(z_S,s, y) + μ(p) · E[m · CE(z_T,s, q̃)], without gradient through q̃ and m, with
       μ(p) = ½ − ½·cos(min(π, 2πp)) over the training's progress p.

    Expectations are means over the batch. ``pseudo_label`` is soft (q̃ itself, the paper's formula) or hard (its argmax,
    the authors' code).
    """

    views: ClassVar[tuple[View, ...]] = ("weak", "strong")
    needs: ClassVar[str] = "weak and strong views of both domains"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.9,
        pseudo_label: Literal["soft", "hard"] = "soft",
    ) -> None:
        super().__init__()
        self.threshold, self.pseudo_label = threshold, pseudo_label

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch; labels of the target are neither needed nor there."""
        labels = batch.source.labels
        source_weak, source_strong, target_weak, target_strong = self._interpolated_logits(model, batch)
        with torch.no_grad():
            source_probs = source_weak.softmax(1)
            pseudo = align(target_weak.softmax(1), source_probs)
            confidence = self.threshold * source_probs.amax(1).mean()
            mask = (pseudo.amax(1) >= confidence).float()
            labels_t = pseudo if self.pseudo_label == "soft" else pseudo.argmax(1)
        on_source = F.cross_entropy(source_weak, labels) + F.cross_entropy(source_strong, labels)
        on_target = (mask * F.cross_entropy(target_strong, labels_t, reduction="none")).mean()
        warm_up = 0.5 - 0.5 * math.cos(min(math.pi, 2 * math.pi * progress.part))
        return Loss({"source": on_source, "target": warm_up * on_target}, {"mask": mask.mean()})

    def _interpolated_logits(self, model: Classifier, batch: DomainBatch) -> list[Tensor]:
        """Logits of source weak, source strong, target weak, target strong; the source's interpolated."""
        source, target = batch.source, batch.target
        images = [source.weak, source.strong, target.weak, target.strong]
        domains = [source.domain, source.domain, target.domain, target.domain]
        joint = [output.logits for output in forward(model, images, domains, "joint")]
        with frozen_statistics(model):
            alone = [output.logits for output in forward(model, images[:2], domains[:2], "joint")]
        mixed = [torch.lerp(z2, z1, torch.rand_like(z1)) for z1, z2 in zip(joint, alone, strict=False)]
        return mixed + joint[2:]


def align(target: Tensor, source: Tensor) -> Tensor:
    """Distribution alignment of class probabilities ``(N_T, classes)`` to the source's ``(N_S, classes)``.

    Each class is multiplied by the ratio of its mean source and mean target probability; rows sum to one again.
    """
    ratio = source.mean(0) / target.mean(0).clamp_min(1e-6)
    aligned = target * ratio
    return aligned / aligned.sum(1, keepdim=True)
