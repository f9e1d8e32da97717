"""Random changes of all colours of an image: to grey, to its negative."""

from dataclasses import dataclass

import torch
from torch import Tensor

from uan_da.data.augment.color import grayscale
from uan_da.data.augment.inputs import as_floats, check_number, per_image, uniform


@dataclass(frozen=True, kw_only=True)
class Grayscale:
    """Turns each image grey with probability ``p``; the number of channels stays."""

    p: float = 0.1

    def __post_init__(self) -> None:
        check_number("p", self.p, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        images = as_floats(images)
        grey = uniform(len(images), generator=generator, device=images.device) < self.p
        return torch.where(per_image("grey", grey, images), grayscale(images), images)


@dataclass(frozen=True, kw_only=True)
class Invert:
    """Turns each image x into its negative 1 − x with probability ``p``; one of CTAugment's operations."""

    p: float = 0.5

    def __post_init__(self) -> None:
        check_number("p", self.p, 0, 1)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        images = as_floats(images)
        inverted = uniform(len(images), generator=generator, device=images.device) < self.p
        return torch.where(per_image("inverted", inverted, images), 1 - images, images)
