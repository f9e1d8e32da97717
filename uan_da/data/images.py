"""A domain's images as the network's side sees them: uint8 of one size, by their indices."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import chain
from os import cpu_count
from typing import Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from uan_da.data.adapter import UNKNOWN, Arrays, Examples, Pixels
from uan_da.data.image_files import ImageFiles
from uan_da.data.progress import Progress, counted, silent
from uan_da.data.resize import fit
from uan_da.data.upright import upright
from uan_da.recipe.network import Input

AT_ONCE = 16
"""Images that a thread decodes at once: to hand over a small one takes as long as to decode it."""


class ImageSet(Protocol):
    """Images by their indices, wherever they are kept: in memory, in a file, or still encoded."""

    @property
    def labels(self) -> Tensor:
        """int64 ``(N,)``, −1 where unknown."""

    def __len__(self) -> int: ...

    def unlabelled(self) -> "ImageSet":
        """The same without labels."""

    def stream(self, indices: Iterable[Tensor]) -> Iterator["Images"]:
        """The images of each of ``indices``, int64 ``(B,)``, in this order."""

    def batches(self, size: int) -> Iterator["Images"]:
        """All images in their order, ``size`` at a time."""


@dataclass(frozen=True)
class Images:
    """``pixels`` uint8 ``(N, C, H, W)`` and ``labels`` int64 ``(N,)``, −1 where unknown."""

    pixels: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)

    def to(self, device: torch.device) -> Self:
        """The same on ``device``."""
        return type(self)(self.pixels.to(device, non_blocking=True), self.labels.to(device, non_blocking=True))

    def unlabelled(self) -> Self:
        """The same without labels."""
        return type(self)(self.pixels, torch.full_like(self.labels, UNKNOWN))

    def take(self, indices: Tensor) -> Self:
        """The images at ``indices``, int64 ``(B,)``."""
        indices = indices.to(self.labels.device)
        if self.pixels.is_contiguous(memory_format=torch.channels_last):  # in the order of memory: far cheaper
            pixels = self.pixels.permute(0, 2, 3, 1).index_select(0, indices).permute(0, 3, 1, 2)
        else:
            pixels = self.pixels.index_select(0, indices)
        return type(self)(pixels, self.labels.index_select(0, indices))

    def stream(self, indices: Iterable[Tensor]) -> Iterator[Self]:
        """The images of each of ``indices``, in this order."""
        return map(self.take, indices)

    def batches(self, size: int) -> Iterator[Self]:
        """All images in their order, ``size`` at a time."""
        return map(type(self), torch.split(self.pixels, size), torch.split(self.labels, size))


def decode(examples: Examples, input: Input, progress: Progress = silent) -> Images:
    """All examples as tensors of the size and channels that ``input`` says, channels last."""
    pixels = np.empty((len(examples), input.size, input.size, input.channels), dtype=np.uint8).transpose(0, 3, 1, 2)
    labels = decode_into(pixels, examples, input, progress)
    return Images(torch.from_numpy(pixels), labels)


def decode_into(pixels: NDArray[np.uint8], examples: Examples, input: Input, progress: Progress = silent) -> Tensor:
    """Fill ``pixels`` ``(N, C, H, W)`` from the examples, on all cores; returns their labels."""

    def fill(rows: range) -> list[int]:
        found, labels = _pixels_at(rows, examples, input)
        pixels[rows.start : rows.stop] = found.numpy()
        return labels

    count = len(examples)
    parts = [range(start, min(start + AT_ONCE, count)) for start in range(0, count, AT_ONCE)]
    with ThreadPoolExecutor(cpu_count()) as pool:
        labels = chain.from_iterable(pool.map(fill, parts))
        return torch.tensor(list(counted(labels, count, progress)), dtype=torch.int64)


def _pixels_at(rows: range, examples: Examples, input: Input) -> tuple[Tensor, list[int]]:
    """Pixels ``(B, C, size, size)`` and labels of some examples."""
    if isinstance(examples, Arrays) and _are_plain(examples.images, input):
        part = slice(rows.start, rows.stop)
        return _array_pixels(examples.images[part], input), examples.labels[part].tolist()
    found = [example_pixels(examples, index, input) for index in rows]
    return torch.stack([pixels for pixels, _ in found]), [label for _, label in found]


def _are_plain(images: Pixels, input: Input) -> bool:
    """Whether no colours need to be converted to grey, nor other numbers to bytes, which Pillow does."""
    return images.dtype == np.uint8 and (images.ndim == 3 or input.channels == 3)


def _array_pixels(images: Pixels, input: Input) -> Tensor:
    """Bytes ``(N, H, W)`` or ``(N, H, W, 3)`` as :func:`to_pixels` has them one by one."""
    coloured = np.array(images) if images.ndim == 4 else np.repeat(images[..., None], input.channels, axis=-1)
    return fit(torch.from_numpy(coloured).permute(0, 3, 1, 2), input)


def example_pixels(examples: Examples, index: int, input: Input) -> tuple[Tensor, int]:
    """An example's pixels, uint8 ``(C, size, size)``, and its label; of a large JPEG no more is decoded than is needed.

    Raises:
        UserError: it cannot be read, or is not what an example should be.
    """
    image, label = examples.at_size(index, input.size) if isinstance(examples, ImageFiles) else examples[index]
    return to_pixels(image, input), label


def to_pixels(image: Image.Image, input: Input) -> Tensor:
    """An image of any size and mode as uint8 ``(C, size, size)``, upright, resized bilinearly with antialiasing,
    as ``input.resize`` says."""
    mode = "RGB" if input.channels == 3 else "L"
    pixels = torch.from_numpy(np.array(upright(image).convert(mode), dtype=np.uint8))  # (H, W, C), of grey (H, W)
    pixels_chw = pixels.permute(2, 0, 1) if pixels.ndim == 3 else pixels[None]
    return fit(pixels_chw, input)
