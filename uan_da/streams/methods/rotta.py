"""RoTTA: a mean teacher learns from a memory, with robust statistics."""

import copy
from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.streams.affine import AffineSteps
from uan_da.streams.memory import Kept, TimelyMemory, pixels_of
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, batch_moments, learning, put_norm
from uan_da.streams.views import jittered_views


class RoTTA(StreamMethod):
    r"""Robust test-time adaptation (Yuan, Xie & Li, CVPR 2023, arXiv:2303.13899).

    .. math:: \min_{γ, β} \; \mathrm{mean}_i \; \frac{e^{-a_i}}{1 + e^{-a_i}} \mathrm{CE}(f_{θ'}(x_i), f_θ(\tilde x_i))

    over a memory of 64 images, every 64 images of the stream; a_i is an image's age over the memory's size, x̃ an
    augmented view, θ′ the teacher, θ′ ← (1 − ν)θ′ + νθ. Both networks normalise by running statistics (RBN), which a
    forward of the memory moves at rate α. The teacher predicts.
    """

    updates: ClassVar[str] = "γ and β, a teacher's, and both networks' statistics"
    gradients: ClassVar[bool] = True
    forwards: ClassVar[float] = 3.0
    backwards: ClassVar[float] = 1.0

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        alpha: Annotated[float, Field(ge=0, le=1)] = 0.05,
        nu: Annotated[float, Field(ge=0, le=1)] = 0.001,
        capacity: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "rotta", lambda bn: RobustNorm(bn, alpha))
        self.teacher = copy.deepcopy(model)
        self.affine = AffineSteps(model, surroundings.domain, "rotta", lr=lr)
        self.nu, self.memory, self.seen = nu, TimelyMemory(capacity, num_classes), 0

    def predict(self, pixels: Tensor) -> Tensor:
        """The teacher predicts; the images enter the memory; after every ``capacity`` images the networks learn."""
        logits = self.forward_model(self.surroundings.seen(pixels), self.teacher).logits
        labels, entropies = logits.argmax(1).tolist(), entropy(logits).tolist()
        for image, label, h in zip(pixels, labels, entropies, strict=True):
            self.memory.add(Kept(image, label, h))
            self.seen += 1
            if self.seen % self.memory.capacity == 0:
                self._learn()
        return logits

    def _learn(self) -> None:
        pixels, around = pixels_of(self.memory.kept), self.surroundings
        ages = torch.tensor([kept.age / self.memory.capacity for kept in self.memory.kept], device=pixels.device)
        views = jittered_views(pixels.shape[1])
        with learning(self.model, self.teacher):
            targets = self.forward_model(around.seen(pixels), self.teacher).logits.softmax(1)
            with self.affine.gradients(around.augmented(pixels, views, "rotta", self.seen)) as images:
                losses = F.cross_entropy(self.forward_model(images).logits, targets, reduction="none")
                self.affine.step((losses * (-ages).sigmoid()).mean())
        with torch.no_grad():
            for mean, own in zip(self.teacher.parameters(), self.model.parameters(), strict=True):
                mean.lerp_(own, self.nu)

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors, and the memory."""
        return [*self.affine.kept(), *(kept.pixels for kept in self.memory.kept)]


class RobustNorm(StreamNorm):
    """Normalises by running statistics, which a forward that learns moves first."""

    def __init__(self, bn: BatchNorm, alpha: float) -> None:
        super().__init__(bn)
        self.alpha = alpha

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The running ones; where it learns, gradients go through the batch's share of them."""
        if not self.learns:
            return self.mean, self.var
        mean, var = (
            torch.lerp(old, new, self.alpha) for old, new in zip((self.mean, self.var), batch_moments(x), strict=True)
        )
        self.mean, self.var = mean.detach(), var.detach()
        return mean, var
