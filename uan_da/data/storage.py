"""Where a task's images are kept: decoded in memory if they fit, in a mapped file, or still encoded."""

from collections.abc import Sequence

import torch

from uan_da.data.adapter import Examples, labels_of
from uan_da.data.decode_cache import cached
from uan_da.data.image_files import ImageFiles
from uan_da.data.images import ImageSet, decode
from uan_da.data.streamed import Streamed
from uan_da.recipe.network import Input

MEMORY = 2 * 1024**3
"""Bytes: a task whose images, decoded, take no more is held in memory, on the device that trains."""


def store(parts: Sequence[Examples], layout: Input, device: torch.device, memory: int | None = None) -> list[ImageSet]:
    """The images of all parts of a task.

    Files are decoded into the cache on disk, where there is one. Together within ``memory``, all parts are brought to
    ``device``; above it files stay mapped from the cache, and what is not in it streams.
    """
    fits = sum(map(len, parts)) * layout.channels * layout.size**2 <= (MEMORY if memory is None else memory)
    return [_store(part, layout, device if fits else None) for part in parts]


def _store(examples: Examples, layout: Input, device: torch.device | None) -> ImageSet:
    mapped = cached(examples, layout) if isinstance(examples, ImageFiles) else None
    if device is None:
        return mapped if mapped is not None else Streamed(examples, layout, labels_of(examples))
    return (mapped if mapped is not None else decode(examples, layout)).to(device)
