"""What an augmentation is, and a sequence of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Augmentation(Protocol):
    """Takes float32 images (N, C, H, W) in [0, 1] and returns the same kind, with one draw per image.

    One that only moves pixels may say so by an attribute ``keeps_bytes = True``: it is then given bytes, as long as
    nothing before it needed floats, and returns them."""

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
