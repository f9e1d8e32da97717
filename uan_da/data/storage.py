"""Where a task's images are kept: decoded in memory if they fit, in a mapped file, or still encoded."""

from collections.abc import Sequence
from itertools import accumulate

import torch

from uan_da.data.adapter import Examples, labels_of
from uan_da.data.decode_cache import cached
from uan_da.data.image_files import ImageFiles
from uan_da.data.images import ImageSet, decode
from uan_da.data.progress import Progress, silent
from uan_da.data.streamed import Streamed
from uan_da.recipe.network import Input

MEMORY = 2 * 1024**3
"""Bytes: a task whose images, decoded, take no more is held in memory, on the device that trains."""


def store(
    parts: Sequence[Examples],
    input: Input,
    device: torch.device,
    memory: int | None = None,
    progress: Progress = silent,
) -> list[ImageSet]:
    """The images of all parts of a task.

    Files are decoded into the cache on disk, where there is one. Together within ``memory``, all parts are brought to
    ``device``; above it files stay mapped from the cache, and what is not in it streams.
    """
    total = sum(map(len, parts))
    fits = total * input.channels * input.size**2 <= (MEMORY if memory is None else memory)
    before = accumulate(map(len, parts), initial=0)
    return [
        _store(part, input, device if fits else None, _after(start, total, progress))
        for start, part in zip(before, parts, strict=False)
    ]


def _after(start: int, total: int, progress: Progress) -> Progress:
    """The progress of one part as that of all."""
    return lambda done, _: progress(start + done, total)


def _store(examples: Examples, input: Input, device: torch.device | None, progress: Progress) -> ImageSet:
    mapped = cached(examples, input, progress) if isinstance(examples, ImageFiles) else None
    if device is None:
        return mapped if mapped is not None else Streamed(examples, input, labels_of(examples))
    return (mapped if mapped is not None else decode(examples, input, progress)).to(device)
