"""MEMO: each image trains the whole network on its own views, and is predicted: the upper bound of cost."""

import copy
import math
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.models.classifier import Classifier
from uan_da.norms.batch_norm import BatchNorm
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.norm import StreamNorm, batch_moments, put_norm


class MEMO(StreamMethod):
    r"""Marginal entropy minimisation with one test point (Zhang, Levine & Finn, NeurIPS 2022, arXiv:2110.09506).

    .. math:: \min_θ H\Big(\frac{1}{V} \sum_v softmax f_θ(x_v)\Big)

    by one step of SGD on all weights, over V augmented views of one image, which is then predicted; the next image
    starts from the source network again. Norms mix the source's statistics with those of the views at hand, 0.9
    and 0.1. The views are the recipe's strong ones, in place of AugMix.
    """

    updates: ClassVar[str] = "all weights, anew for each image"
    gradients: ClassVar[bool] = True
    forwards: ClassVar[float] = 33.0
    backwards: ClassVar[float] = 32.0

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 0.005,
        views: Annotated[int, Field(ge=1)] = 32,
        batch_share: Annotated[float, Field(ge=0, le=1)] = 0.1,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "memo", lambda bn: SharedMoments(bn, batch_share))
        self.lr, self.views, self.images = lr, views, 0

    def predict(self, pixels: Tensor) -> Tensor:
        """Train on each image's views, then predict it."""
        return torch.cat([self._one(image[None]) for image in pixels])

    def _one(self, pixels: Tensor) -> Tensor:
        around, model = self.surroundings, copy.deepcopy(self.model).requires_grad_(True)
        views = around.augmented(pixels.expand(self.views, -1, -1, -1), around.strong, "memo", self.images)
        self.images += 1
        with torch.enable_grad():
            loss = marginal_entropy(self.forward_model(views, model).logits)
            parameters = list(model.parameters())
            gradients = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(parameters, gradients, strict=True):
                if gradient is not None:
                    parameter.sub_(gradient, alpha=self.lr)
            return self.forward_model(around.seen(pixels), model).logits


def marginal_entropy(logits: Tensor) -> Tensor:
    """The entropy of the mean prediction over views; ``(V, classes)``."""
    mean = logits.log_softmax(1).logsumexp(0) - math.log(len(logits))
    return -(mean.exp() * mean).sum()


class SharedMoments(StreamNorm):
    """Normalises by a mix of the source's moments and the batch's."""

    def __init__(self, bn: BatchNorm, share: float) -> None:
        super().__init__(bn)
        self.share = share

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Those of the source and of ``x``, whose variance is unbiased; as in the authors' code, without a gradient."""
        mean, var = batch_moments(x.detach())
        values = x.numel() // x.shape[1]
        unbiased = var * (values / max(values - 1, 1))
        return torch.lerp(self.source_mean, mean, self.share), torch.lerp(self.source_var, unbiased, self.share)
