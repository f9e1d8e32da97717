"""AdaMatch: pseudo-labels of the weak view teach the strong view, aligned and thresholded by the source."""

import math
from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, DomainImages, View
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier
from uan_da.norms import frozen_statistics
from uan_da.norms.distributed import mean_over_processes, shared_rand_like

SOURCE_MOMENTUM = 0.999
"""Of the exponential average of the source's class probabilities."""

TARGET_BATCHES = 128
"""How many batches the moving average of the target's class probabilities spans."""

EPS = 1e-6

Views = tuple[Tensor, Tensor]
"""The logits ``(N, C)`` of the weak and of the strong view."""


class AdaMatch(Method):
    r"""AdaMatch (Berthelot et al., ICLR 2022, arXiv:2106.04732).

    With weak and strong views (w, s) of source and target:

    1. one joint forward of all four, z′_S and z_T; a second one of the source alone, z″_S, on its own batch statistics.
       Only the joint one updates running statistics;
    2. random logit interpolation, for each logit: z_S = u·z′_S + (1 − u)·z″_S, u ~ U(0, 1);
    3. distribution alignment, for each class: q̃ ∝ q · E[softmax z_S,w] / E[q], q = softmax z_T,w, rows summing to one;
    4. relative confidence threshold: m = 1[max q̃ ≥ τ · E[max softmax z_S,w]];
    5. L = CE(z_S,w, y) + CE(z_S,s, y) + μ(p) · E[m · CE(z_T,s, q̃)], without gradient through q̃ and m, with
       μ(p) = ½ − ½·cos(min(π, 2πp)) over the training's progress p.

    From the authors' code: the expectations of step 3 are running averages, :class:`RunningAlignment`; in ``batch``
    they are the batch's means, the paper's letter, which know too little of the classes where these outnumber the
    images. The other expectations are the batch's. Where the code and the paper differ, the paper is the default: the
    code takes hard pseudo-labels, the argmax of q̃ (``pseudo_label: hard``), and half the sum of the two source losses
    (``source_loss: mean``), so that the target weighs twice as much beside them. The code evaluates an average of the
    weights: ``train.ema: 0.999``.

    In semi-supervised adaptation the labelled target images x_L are in both forwards, their logits z_L are interpolated
    as the source's are, and L has CE(z_L,w, y_L) + CE(z_L,s, y_L) more, a mean of its own. As in the authors' code, the
    expectations of steps 3 and 4 stay the source's alone.
    """

    settings = ("closed_set", "semi_supervised")
    views: ClassVar[tuple[View, ...]] = ("weak", "strong")
    needs: ClassVar[str] = "weak and strong views of both domains"
    parallel = True

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.9,
        alignment: Literal["running", "batch"] = "running",
        pseudo_label: Literal["soft", "hard"] = "soft",
        source_loss: Literal["sum", "mean"] = "sum",
    ) -> None:
        super().__init__()
        self.threshold, self.pseudo_label = threshold, pseudo_label
        self.source_weight = 1.0 if source_loss == "sum" else 0.5
        self.align = RunningAlignment(num_classes) if alignment == "running" else BatchAlignment()

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch; labels of the unlabelled target are neither needed nor there."""
        (source, *labelled), (target_weak, target_strong) = interpolated_logits(model, batch)
        with torch.no_grad():
            source_probs = source[0].softmax(1)
            pseudo = self.align(source_probs, target_weak.softmax(1))
            confidence = self.threshold * mean_over_processes(source_probs.amax(1).mean())
            mask = (pseudo.amax(1) >= confidence).float()
            labels_t = pseudo if self.pseudo_label == "soft" else pseudo.argmax(1)
        on_target = (mask * F.cross_entropy(target_strong, labels_t, reduction="none")).mean()
        warm_up = 0.5 - 0.5 * math.cos(min(math.pi, 2 * math.pi * progress.part))
        terms = {"source": self._supervised(source, batch.source), "target": warm_up * on_target}
        if batch.labelled is not None:
            terms["labelled"] = self._supervised(labelled[0], batch.labelled)
        return Loss(terms, {"mask": mask.mean()})

    def _supervised(self, views: Views, side: DomainImages) -> Tensor:
        weak, strong = views
        return self.source_weight * (F.cross_entropy(weak, side.labels) + F.cross_entropy(strong, side.labels))


def interpolated_logits(model: Classifier, batch: DomainBatch) -> tuple[list[Views], Views]:
    """The logits of the source and, where there are any, of the labelled images of the target, interpolated; and those
    of the unlabelled target."""
    known = [batch.source, *([batch.labelled] if batch.labelled else [])]
    images, domains = _views([*known, batch.target])
    joint = [output.logits for output in forward(model, images, domains, "joint")]
    with frozen_statistics(model):
        alone = [output.logits for output in forward(model, *_views(known), "joint")]
    mixed = [torch.lerp(z2, z1, shared_rand_like(z1)) for z1, z2 in zip(joint, alone, strict=False)]
    return list(zip(mixed[::2], mixed[1::2], strict=True)), (joint[-2], joint[-1])


def _views(sides: Sequence[DomainImages]) -> tuple[list[Tensor], list[Tensor]]:
    """The weak and the strong images of each side, one after the other, and their domains."""
    images = [view for side in sides for view in (side.weak, side.strong)]
    return images, [side.domain for side in sides for _ in range(2)]


class BatchAlignment(nn.Module):
    """Distribution alignment by the means of one batch."""

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """Class probabilities of the source ``(N_S, C)`` and the target ``(N_T, C)`` to the target's, aligned."""
        return align(target, mean_over_processes(source.mean(0)), mean_over_processes(target.mean(0)))


class RunningAlignment(nn.Module):
    r"""Distribution alignment by running averages of the batches' mean class probabilities.

    .. math:: \bar p_S ← 0.999\, \bar p_S + 0.001\, E[p_S], \quad
        \bar p_T = \frac{1}{128} \sum_{b} E[p_T^{(b)}]

    over the last 128 batches b; both start at 1/C, for every batch that has not been. The batch counts before it is
    aligned.
    """

    source: Tensor
    target: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("source", torch.full((num_classes,), 1 / num_classes))
        self.register_buffer("target", torch.full((TARGET_BATCHES, num_classes), 1 / num_classes))

    def forward(self, source: Tensor, target: Tensor) -> Tensor:
        """As :class:`BatchAlignment`; the averages follow the two batches."""
        source_mean, target_mean = (mean_over_processes(probs.mean(0, keepdim=True)) for probs in (source, target))
        self.source.lerp_(source_mean[0].to(self.source), 1 - SOURCE_MOMENTUM)
        self.target.copy_(torch.cat([self.target[1:], target_mean.to(self.target)]))
        return align(target, self.source.to(target), self.target.mean(0).to(target))


def align(target: Tensor, source_mean: Tensor, target_mean: Tensor) -> Tensor:
    """Distribution alignment of class probabilities ``(N_T, C)``: each class times the ratio of its mean probability
    on the source ``(C,)`` to that on the target ``(C,)``; rows sum to one again."""
    aligned = target * ((EPS + source_mean) / (EPS + target_mean))
    return aligned / aligned.sum(1, keepdim=True)
