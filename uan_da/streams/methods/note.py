"""NOTE: instance-aware norms, and entropy on a balanced memory."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.streams.affine import AffineSteps
from uan_da.streams.memory import Kept, ReservoirMemory, pixels_of
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.methods.iabn import InstanceAwareNorm
from uan_da.streams.norm import batch_moments, learning, put_norm


class NOTE(StreamMethod):
    """Non-i.i.d. test-time adaptation (Gong et al., NeurIPS 2022, arXiv:2208.05117).

    Norms are :class:`~uan_da.streams.methods.iabn.IABN`'s. Every 64 images of the stream, a memory of 64 that is
    balanced over predicted classes minimises its entropy over γ and β, and moves the norms' statistics at ``momentum``.
    The loss is a mean over classes, too, as in the authors' code.
    """

    updates: ClassVar[str] = "γ, β and the statistics of the norms"
    gradients: ClassVar[bool] = True
    forwards: ClassVar[float] = 2.0
    backwards: ClassVar[float] = 1.0

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        k: Annotated[float, Field(ge=0)] = 4.0,
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.01,
        capacity: Annotated[int, Field(ge=1)] = 64,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "note", lambda bn: FollowingNorm(bn, k, momentum))
        self.affine = AffineSteps(model, surroundings.domain, "note", lr=lr)
        self.memory, self.seen = ReservoirMemory(capacity, surroundings.seed), 0

    def predict(self, pixels: Tensor) -> Tensor:
        """Predict the batch, add its images to the memory, and learn after every ``capacity`` images."""
        logits = super().predict(pixels)
        for image, label in zip(pixels, logits.argmax(1).tolist(), strict=True):
            self.memory.add(Kept(image, label))
            self.seen += 1
            if self.seen % self.memory.capacity == 0:
                self._learn()
        return logits

    def _learn(self) -> None:
        with learning(self.model), self.affine.gradients(self.surroundings.seen(pixels_of(self.memory.kept))) as images:
            self.affine.step(entropy(self.forward_model(images).logits).mean() / self.num_classes)

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors, and the memory."""
        return [*self.affine.kept(), *(kept.pixels for kept in self.memory.kept)]


class FollowingNorm(InstanceAwareNorm):
    """Where it learns, the batch's statistics stand for its own, which follow them."""

    def __init__(self, bn: BatchNorm, k: float, momentum: float) -> None:
        super().__init__(bn, k)
        self.momentum = momentum

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The moments of each image, ``(N, C)``."""
        if not self.learns:
            return super().moments(x)
        mean, var = batch_moments(x)
        values = x.numel() // x.shape[1]
        var = var * (values / max(values - 1, 1))
        self.mean = torch.lerp(self.mean, mean.detach(), self.momentum)
        self.var = torch.lerp(self.var, var.detach(), self.momentum)
        return self.corrected(x, mean, var)
