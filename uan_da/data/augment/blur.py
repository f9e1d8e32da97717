"""Random Gaussian blur."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.augment.filters import gaussian_blur
from uan_da.data.augment.inputs import check_number, check_range, own_floats, uniform
from uan_da.data.augment.per_group import apply_per_group_


@dataclass(frozen=True, kw_only=True)
class Blur:
    """Blurs each image by a Gaussian with probability ``p``.

    Its standard deviation is uniform in ``sigma``, in pixels. The Gaussian is cut off at three times the
    largest standard deviation, or at the image's size less one.
    """

    sigma: tuple[float, float] = (0.1, 2.0)
    p: float = 0.5

    def __post_init__(self) -> None:
        check_range("sigma", self.sigma)
        check_number("p", self.p, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        images = own_floats(images)
        low, high = self.sigma
        blurred = uniform(len(images), generator=generator) < self.p
        sigma = uniform(len(images), generator=generator, device=images.device, low=low, high=high)
        radius = min(math.ceil(3 * high), images.shape[2] - 1, images.shape[3] - 1)

        def blur(part: Tensor, place: Tensor) -> Tensor:
            return gaussian_blur(part, sigma[place], radius)

        return apply_per_group_(images, blurred.long(), (lambda part, _: part, blur))
