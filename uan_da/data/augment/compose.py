"""What an augmentation is, and a sequence of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Augmentation(Protocol):
    """Takes images (N, C, H, W), float32 in [0, 1] or bytes, and returns float32, with one draw per image.

    One that only moves pixels may return the type that it is given."""

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Draws from ``generator`` (the global one if ``None``); does not write to ``images``."""
        ...


@dataclass(frozen=True)
class Compose:
    """Applies augmentations one after the other."""

    augmentations: Sequence[Augmentation]

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """Images (N, C, H, W) through each augmentation, in order, all drawing from ``generator``."""
        for augmentation in self.augmentations:
            images = augmentation(images, generator)
        return images
