"""Images that are decoded batch by batch, on worker processes."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from uan_da.data.adapter import UNKNOWN, Examples
from uan_da.data.images import Images, to_pixels
from uan_da.errors import UserError
from uan_da.recipe.network import Input

PREFETCH = 4
"""Batches ahead, a worker."""


@dataclass(frozen=True)
class Streamed:
    """Images that stay encoded: workers decode and resize what is asked for, a few batches ahead."""

    examples: Examples
    layout: Input
    labels: Tensor
    workers: int = min(8, os.cpu_count() or 1)

    def __len__(self) -> int:
        return len(self.labels)

    def unlabelled(self) -> "Streamed":
        """The same without labels."""
        return replace(self, labels=torch.full_like(self.labels, UNKNOWN))

    def stream(self, places: Iterable[Tensor]) -> Iterator[Images]:
        """The images of each of ``places``, in this order; ``places`` may be endless."""
        loader = DataLoader(
            Decoded(self.examples, self.layout),
            batch_sampler=_Lists(places),
            num_workers=self.workers,
            prefetch_factor=PREFETCH if self.workers else None,
            collate_fn=_collate,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator(),  # its seed would be drawn from the training's random numbers
        )
        for found in loader:
            if isinstance(found, str):
                raise UserError(f"{found}\nall that is wrong with the data: uan-da datasets check DATASET")
            chosen, pixels = found
            yield Images(pixels, self.labels[chosen])

    def batches(self, size: int) -> Iterator[Images]:
        """All images in their order, ``size`` at a time."""
        return self.stream(torch.split(torch.arange(len(self)), size))


class Decoded(Dataset[Any]):
    """Pixels by place; a file that cannot be read becomes its message, for an error would lose it between processes."""

    def __init__(self, examples: Examples, layout: Input) -> None:
        self.examples, self.layout = examples, layout

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[int, Tensor] | str:
        try:
            image, _ = self.examples[index]
        except UserError as error:
            return str(error)
        return index, to_pixels(image, self.layout)


class _Lists:
    """Places as a ``batch_sampler`` has them."""

    def __init__(self, places: Iterable[Tensor]) -> None:
        self.places = places

    def __iter__(self) -> Iterator[list[int]]:
        for batch in self.places:
            yield batch.tolist()


def _collate(items: Sequence[tuple[int, Tensor] | str]) -> tuple[Tensor, Tensor] | str:
    failed = [item for item in items if isinstance(item, str)]
    if failed:
        return failed[0]
    places, pixels = zip(*items, strict=True)
    return torch.tensor(places), torch.stack(pixels)
