"""ROID: weighted likelihood ratios, consistency, and weights pulled to the source's."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.streams.affine import AffineSteps
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.views import jittered_views

CLIP, EPS = 0.99, 1e-5


class ROID(StreamMethod):
    r"""Universal test-time adaptation (Marsden, Döbler & Yang, WACV 2024, arXiv:2306.00650).

    .. math:: \min_{γ, β} \frac{1}{B} \sum_{i ∈ S} w_i \Big[ -\sum_c p_{ic} \log \frac{p_{ic}}{1 - p_{ic}} +
       \mathrm{SCE}(f(\tilde x_i), f(x_i)) \Big]

    with w = exp(3 · diversity · certainty). The diversity is one minus the cosine of p and the moving average of the
    predictions, the certainty is minus the entropy of p; both are scaled to [0, 1] over the batch. S are the
    images of at least mean diversity, x̃ is an augmented view, and SCE is the symmetric cross-entropy. After the step γ
    and β are pulled to the source's, θ ← 0.99 θ + 0.01 θ⁰. The predictions are those from before the step, times a
    smoothed prior of the batch's classes.
    """

    updates: ClassVar[str] = "γ and β of the norms, near the source's"
    gradients: ClassVar[bool] = True
    forwards: ClassVar[float] = 1.5
    backwards: ClassVar[float] = 1.5
    average: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        keep: Annotated[float, Field(ge=0, le=1)] = 0.99,
        momentum: Annotated[float, Field(ge=0, le=1)] = 0.9,
        temperature: Annotated[float, Field(gt=0)] = 1 / 3,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        self.affine = AffineSteps(model, surroundings.domain, "roid", lr=lr)
        self.start, self.batches = self.affine.snapshot(), 0
        self.keep, self.momentum, self.temperature = keep, momentum, temperature
        self.register_buffer("average", torch.full((num_classes,), 1 / num_classes, device=surroundings.device))

    def predict(self, pixels: Tensor) -> Tensor:
        """Predict the batch, then learn from it."""
        views = jittered_views(pixels.shape[1], blur=False)
        with self.affine.gradients(self.surroundings.seen(pixels)) as images:
            logits = self.forward_model(images).logits
            weight, chosen = self._weights(logits.detach())
            loss = (soft_likelihood_ratio(logits) * weight)[chosen].sum() / len(pixels)
            if bool(chosen.any()):
                seen = self.surroundings.augmented(pixels[chosen], views, "roid", self.batches)
                other = self.forward_model(seen).logits
                loss = loss + (symmetric_cross_entropy(other, logits[chosen]) * weight[chosen]).sum() / len(pixels)
            self.affine.step(loss)
        with torch.no_grad():
            for parameter, first in zip(self.affine.parameters.values(), self.start, strict=True):
                parameter.lerp_(first, 1 - self.keep)
        self.batches += 1
        return logits.detach() * smoothed_prior(logits.detach())

    def _weights(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """The weight of each image, and which count."""
        p = logits.softmax(1)
        diversity = _scaled(1 - F.cosine_similarity(self.average[None], p, dim=1))
        certainty = _scaled(-entropy(logits))
        self.average = torch.lerp(p.mean(0), self.average, self.momentum)
        return (diversity * certainty / self.temperature).exp(), diversity >= diversity.mean()

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors, and the source's γ and β."""
        return [*self.affine.kept(), *self.start]


def soft_likelihood_ratio(logits: Tensor) -> Tensor:
    """−Σ_c p log(p / (1 − p)) of each prediction, ``(B,)``."""
    p = logits.softmax(1).clamp(0.0, CLIP)
    return -(p * (p / (1 - p) + EPS).log()).sum(1)


def symmetric_cross_entropy(a: Tensor, b: Tensor) -> Tensor:
    """Half of CE(softmax b, a) + CE(softmax a, b), ``(B,)``."""
    return -0.5 * (b.softmax(1) * a.log_softmax(1) + a.softmax(1) * b.log_softmax(1)).sum(1)


def smoothed_prior(logits: Tensor) -> Tensor:
    """The frequency of each predicted class in the batch, smoothed more for fewer images or classes."""
    prior, (images, classes) = logits.softmax(1).mean(0), logits.shape
    smooth = max(1 / images, 1 / classes) / prior.max()
    smoothed: Tensor = (prior + smooth) / (1 + smooth * classes)
    return smoothed


def _scaled(values: Tensor) -> Tensor:
    """To [0, 1] over the batch; 0 where all are equal."""
    span = values.max() - values.min()
    return (values - values.min()) / span.clamp_min(1e-12)
