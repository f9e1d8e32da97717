"""Views that are looked up: random crops of images that lie standardized in memory."""

from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import pad

from uan_da.data.augment import Augmentation, Crop
from uan_da.data.images import Images, ImageSet
from uan_da.data.views import standardize
from uan_da.recipe.network import Input

MEMORY = 64 * 1024**2
"""Bytes that the standardized images of a view may take."""
UNCHANGED = Crop(padding=0)


class Crops:
    """The images of several sets, one after the other, padded and standardized once. A batch of crops is one look-up of
    rows, in less than half the time that it takes to crop bytes and standardize them; its values are the same."""

    def __init__(self, sets: Sequence[Images], crop: Crop, input: Input) -> None:
        self.crop, self.size = crop, sets[0].pixels.shape[2:]
        padded = standardize(torch.cat([pad(images.pixels, [crop.padding] * 4) for images in sets]), input)
        _, self.channels, height, width = padded.shape
        self.of_row, self.of_image = width * self.channels, height * width * self.channels
        height, width = crop.sides(self.size)
        self.rows = torch.arange(0, height * self.of_row, self.of_row)
        """Where the rows of a crop start."""
        values = padded.permute(0, 2, 3, 1).reshape(-1)
        self.images = values.view(-1, self.of_image)
        self.stretches = values.unfold(0, width * self.channels, 1)
        """Of the width of a crop, wherever they start: a view of the same memory."""

    @classmethod
    def of(cls, sets: Sequence[ImageSet], augmentations: Sequence[Augmentation], input: Input) -> Self | None:
        """Those of the view that ``augmentations`` make of ``sets``; None where it needs more than a crop, where
        images are not decoded on the CPU, or take more than :data:`MEMORY`."""
        crop = augmentations[0] if len(augmentations) == 1 else None if augmentations else UNCHANGED
        decoded = [images for images in sets if isinstance(images, Images) and images.pixels.is_cpu]
        if not isinstance(crop, Crop) or input.crop is not None or len(decoded) < len(sets):
            return None
        height, width = (side + 2 * crop.padding for side in decoded[0].pixels.shape[2:])
        values = sum(map(len, decoded)) * height * width * decoded[0].pixels.shape[1]
        return None if 4 * values > MEMORY else cls(decoded, crop, input)

    def look_up(self, images: Tensor, random: torch.Generator) -> Tensor:
        """Of ``images``, int64 ``(N,)``, counted over all sets: float ``(N, C, height, width)``, channels last."""
        height, width = self.crop.sides(self.size)
        if self.crop is UNCHANGED:
            found = self.images.index_select(0, images)
        else:
            top, left = self.crop.draw(len(images), self.size, random)
            starts = (images * self.of_image).add_(top, alpha=self.of_row).add_(left, alpha=self.channels)
            found = self.stretches.index_select(0, (starts.view(-1, 1) + self.rows).view(-1))
        return found.view(len(images), height, width, self.channels).permute(0, 3, 1, 2)
