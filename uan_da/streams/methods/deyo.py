"""DeYO: entropy of images whose shape the prediction depends on."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.seeding import generator
from uan_da.streams.affine import AffineSteps
from uan_da.streams.method import StreamMethod, Surroundings


class DeYO(StreamMethod):
    r"""Destroy your object (Lee et al., ICLR 2024, arXiv:2403.07366).

    .. math:: \min_{γ, β} \; \mathrm{mean}_{i ∈ S} \; (e^{E_0 - H_i} + e^{D_i}) H_i, \quad
       S = \{i: H_i < τ_H, \; D_i > τ_D\}, \quad D_i = p_{\hat y}(x_i) - p_{\hat y}(x_i')

    with x′ the image whose 4×4 patches are shuffled, E₀ = 0.4 ln C, τ_H = 0.5 ln C and τ_D = 0.2. As in
    :class:`~uan_da.streams.methods.sar.SAR`, all norms move.
    """

    updates: ClassVar[str] = "γ and β of the norms"
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
        margin: Annotated[float, Field(gt=0)] = 0.4,
        sure: Annotated[float, Field(gt=0)] = 0.5,
        difference: float = 0.2,
        patches: Annotated[int, Field(ge=2)] = 4,
    ) -> None:
        """``margin``, ``sure``: E₀ and τ_H in parts of ln C. ``difference``: τ_D."""
        super().__init__(model, num_classes, surroundings)
        self.affine = AffineSteps(model, surroundings.domain, "deyo", lr=lr)
        self.margin, self.sure = margin * math.log(num_classes), sure * math.log(num_classes)
        self.difference, self.patches = difference, patches
        self.random = generator(surroundings.seed, "deyo")

    def predict(self, pixels: Tensor) -> Tensor:
        """Predict the batch, then minimise the entropy of the images whose prediction depends on shape."""
        with self.affine.gradients(self.surroundings.seen(pixels)) as images:
            logits = self.forward_model(images).logits
            (sure,) = (entropy(logits.detach()) < self.sure).nonzero(as_tuple=True)
            if len(sure):
                gap = self._gap(images.detach()[sure], logits.detach()[sure])
                chosen = gap > self.difference
                if bool(chosen.any()):
                    h = entropy(logits[sure[chosen]])
                    weight = (self.margin - h.detach()).exp() + gap[chosen].exp()
                    self.affine.step((h * weight).mean())
        return logits.detach()

    @torch.no_grad()
    def _gap(self, images: Tensor, logits: Tensor) -> Tensor:
        """By how much the prediction's probability falls where patches are shuffled, ``(B,)``."""
        shuffled = self.forward_model(shuffle_patches(images, self.patches, self.random)).logits.softmax(1)
        p, label = logits.softmax(1), logits.argmax(1, keepdim=True)
        return (p.gather(1, label) - shuffled.gather(1, label))[:, 0]

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors."""
        return self.affine.kept()


def shuffle_patches(images: Tensor, patches: int, random: torch.Generator) -> Tensor:
    """``images`` ``(B, C, H, W)``, cut into ``patches``² patches, each image's in a random order of its own.

    A side that ``patches`` does not divide is resized for it, and back.
    """
    b, c, height, width = images.shape
    h, w = max(height // patches, 1), max(width // patches, 1)
    inner = F.interpolate(images, (patches * h, patches * w), mode="bilinear", antialias=True)
    pieces = inner.reshape(b, c, patches, h, patches, w).permute(0, 2, 4, 1, 3, 5).reshape(b, patches**2, c, h, w)
    order = torch.rand(b, patches**2, generator=random).argsort(1).to(images.device)
    mixed = pieces[torch.arange(b, device=images.device)[:, None], order]
    whole = (
        mixed.reshape(b, patches, patches, c, h, w).permute(0, 3, 1, 4, 2, 5).reshape(b, c, patches * h, patches * w)
    )
    return F.interpolate(whole, (height, width), mode="bilinear", antialias=True)
