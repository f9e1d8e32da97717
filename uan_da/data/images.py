"""A domain's images, decoded once into one uint8 tensor."""

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.v2 import functional as F

from uan_da.data.adapter import Examples
from uan_da.recipe.schema import Input


@dataclass(frozen=True)
class Images:
    """``pixels`` uint8 ``(N, C, H, W)`` and ``labels`` int64 ``(N,)``, −1 where unknown."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Self:
        """The same on ``device``."""
        return type(self)(self.pixels.to(device), self.labels.to(device))


def decode(examples: Examples, layout: Input) -> Images:
    """All examples as tensors of the size and channels that ``layout`` says."""
    decoded = [examples[index] for index in range(len(examples))]
    size = [layout.size, layout.size]
    mode = "RGB" if layout.channels == 3 else "L"
    pixels = [F.resize(F.pil_to_tensor(_eight_bit(image).convert(mode)), size, antialias=True) for image, _ in decoded]
    labels = torch.tensor([label for _, label in decoded], dtype=torch.int64)
    return Images(torch.stack(pixels), labels)


def _eight_bit(image: Image.Image) -> Image.Image:
    """Sixteen-bit grey scaled to eight, which Pillow's own conversion would clip."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
