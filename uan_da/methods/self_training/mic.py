"""MIC: the prediction on an image with most of it masked is that on the whole image."""

import copy
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier, Output
from uan_da.norms.affine import batch_statistics
from uan_da.seeding import generator


class MIC(TransferMethod):
    r"""Masked image consistency (Hoyer et al., CVPR 2023, arXiv:2212.01322), for classification.

    .. math:: L = CE(f(x_S), y_S) + w · \frac{1}{N_T} \sum_i \max q_i · CE(f(M ⊙ x_T)_i, \arg\max q_i), \quad
        q = softmax f'(x_T)

    where M is 0 on a part ``ratio`` of the blocks of an image, drawn anew for each image and step, and f′ the teacher,
    whose weights follow after each step, θ′ ← α_t θ′ + (1 − α_t) θ with α_t = min(1 − 1/(t + 1), α). No gradient
    reaches q; the network that is evaluated is f. The authors add it to CDAN with MCC and SDAT: ``cdan`` with
    ``then: [mcc, mic]`` and ``sdat_radius``, whose task loss has MIC's term too, as theirs.

    From the authors' code for classification: w = 1, ratio = 0.7, α = 0.9, and blocks of 64 pixels in images of 224,
    which is a ``grid`` of 4 × 4, whose blocks here are as even as pixels allow. The weight max q is theirs with ViT;
    with ResNet-101 it is 1 (``weighted: false``). The masked images have a forward of their own, the teacher normalises
    by its batch and has no dropout, as theirs. They also jitter the colours of the masked image and blur it; here it is
    the weak view as it is. In the second pass of SDAT their term has no weight max q; here both passes have it.
    """

    on_predictions: ClassVar[bool] = True

    steps: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        ratio: Annotated[float, Field(ge=0, le=1)] = 0.7,
        grid: Annotated[int, Field(ge=1)] = 4,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.9,
        weighted: bool = True,
    ) -> None:
        """``grid`` is the number of blocks along a side; ``decay`` is α."""
        super().__init__()
        self.trade_off, self.ratio, self.grid, self.decay, self.weighted = trade_off, ratio, grid, decay, weighted
        self.seed = int(torch.randint(2**31, ()))
        self.teacher = copy.deepcopy(model).requires_grad_(False)
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def start(self, model: Classifier) -> None:
        """The teacher begins as the student, whatever that has learned before."""
        self.teacher.load_state_dict(model.state_dict())

    def terms(self, model: Classifier, batch: DomainBatch, source: Output, target: Output, progress: Progress) -> Loss:
        """The weighted cross-entropy of the masked images and the teacher's classes."""
        images, domain = batch.target.weak, batch.target.domain
        confidence, labels = self._teach(images, domain).softmax(1).max(1)
        (masked,) = forward(model, [images * self._mask(images, progress.step)], [domain], "separate")
        losses = F.cross_entropy(masked.logits, labels, reduction="none")
        loss = ((confidence if self.weighted else 1.0) * losses).mean()
        return Loss({"masked": self.trade_off * loss}, {"confidence": confidence.mean()})

    @torch.no_grad()
    def _teach(self, images: Tensor, domain: Tensor) -> Tensor:
        """The teacher's logits ``(N, C)``."""
        with batch_statistics(self.teacher):
            (output,) = forward(self.teacher, [images], [domain], "separate")
        return output.logits

    def _mask(self, images: Tensor, step: int) -> Tensor:
        """Ones, and zeros on the masked blocks, ``(N, 1, H, W)``: a function of the seed and the step, so that both
        passes of SDAT have one mask."""
        random = generator(self.seed, "mask", step)
        kept = torch.rand(len(images), 1, self.grid, self.grid, generator=random) >= self.ratio
        return F.interpolate(kept.to(images), images.shape[2:])

    @torch.no_grad()
    def after_step(self, model: Classifier) -> None:
        """The teacher's weights follow the student's; its statistics, which it does not use, are the student's."""
        self.steps += 1
        decay = min(1 - 1 / (int(self.steps) + 1), self.decay)
        for slow, fast in zip(self.teacher.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - decay)
        for old, new in zip(self.teacher.buffers(), model.buffers(), strict=True):
            old.copy_(new)
