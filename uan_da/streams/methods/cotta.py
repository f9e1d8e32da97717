"""CoTTA: a mean teacher of many views, and weights that fall back to the source's."""

import copy
from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.models.classifier import Classifier
from uan_da.norms.affine import batch_statistics
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.views import jittered_views


class CoTTA(StreamMethod):
    r"""Continual test-time adaptation (Wang et al., CVPR 2022, arXiv:2203.13591).

    .. math:: \min_θ \mathrm{CE}(\bar y, f_θ(x)), \quad θ' ← m θ' + (1 - m) θ, \quad θ_j ← θ_j^0 \text{ with chance } p

    for all weights θ, by Adam; ȳ is the teacher θ′'s prediction, or where the source network's mean confidence is below
    ``threshold`` the mean of its logits over 32 augmented views. Norms of all three networks normalise by the batch.
    The prediction is the teacher's, from before the step.
    """

    updates: ClassVar[str] = "all weights, and a teacher's"
    gradients: ClassVar[bool] = True
    forwards: ClassVar[float] = 34.0
    backwards: ClassVar[float] = 1.0

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.999,
        restore: Annotated[float, Field(ge=0, le=1)] = 0.01,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.92,
        views: Annotated[int, Field(ge=1)] = 32,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        self.teacher, self.anchor = copy.deepcopy(model), copy.deepcopy(model)
        self.optimizer = torch.optim.Adam(model.requires_grad_(True).parameters(), lr=lr)
        self.momentum, self.restore, self.threshold, self.views = momentum, restore, threshold, views
        self.batches = 0

    def predict(self, pixels: Tensor) -> Tensor:
        """The teacher predicts; then student and teacher learn."""
        images = self.surroundings.seen(pixels)
        with batch_statistics(self.teacher), batch_statistics(self.anchor):
            sure = self.forward_model(images, self.anchor).logits.softmax(1).amax(1).mean() >= self.threshold
            logits = self.forward_model(images, self.teacher).logits if bool(sure) else self._of_views(pixels)
        with torch.enable_grad(), batch_statistics(self.model):
            loss = F.cross_entropy(self.forward_model(images).logits, logits.softmax(1))
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        self._follow()
        self.batches += 1
        return logits

    def _of_views(self, pixels: Tensor) -> Tensor:
        """The mean of the teacher's logits over augmented views."""
        views = jittered_views(pixels.shape[1])
        seen = (self.surroundings.augmented(pixels, views, "cotta", self.batches, view) for view in range(self.views))
        return torch.stack([self.forward_model(images, self.teacher).logits for images in seen]).mean(0)

    @torch.no_grad()
    def _follow(self) -> None:
        """The teacher follows the student; some of the student's weights return to the source's."""
        for mean, own, first in zip(*(m.parameters() for m in (self.teacher, self.model, self.anchor)), strict=True):
            mean.lerp_(own, 1 - self.momentum)
            own.copy_(torch.where(torch.rand_like(own) < self.restore, first, own))

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors."""
        return [v for state in self.optimizer.state.values() for v in state.values() if isinstance(v, Tensor)]
