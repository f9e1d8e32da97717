"""Any data set under common corruptions, made on this machine."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from uan_da.data.adapter import Arrays, Examples, Pixels, Split, labels_of
from uan_da.data.corruptions.corruption import Corruption
from uan_da.data.corruptions.draws import Draws
from uan_da.data.corruptions.photometric import EIGHT
from uan_da.data.corruptions.published import EXTRA, FIFTEEN
from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.seeding import fold

Conditions = Literal["imagenet_c", "eight"]
SETS: Mapping[Conditions, Mapping[str, Corruption]] = {"imagenet_c": FIFTEEN, "eight": EIGHT}
CHUNK = 256
"""Images that are corrupted at once."""
MIXED = "mixed"
"""The domain in which each image is under one condition of its own."""


Indices = NDArray[np.int64]


class ConditionedArrays(Arrays):
    """Arrays that know the condition of each image: ``conditions`` ``(N,)``, indices into ``names``; made when they are
    asked for.

    Like labels, conditions are for who measures: neither a training nor a method is handed them.
    """

    def __init__(
        self,
        labels: NDArray[np.int64],
        conditions: Indices,
        names: Sequence[str],
        make: Callable[[Indices, Indices], Pixels],
        indices: Indices | None = None,
    ) -> None:
        """``make`` makes the images of some ``indices``, under some conditions; all without ``indices``."""
        self.labels, self.conditions, self.names, self._make = labels, conditions, tuple(names), make
        self._indices = np.arange(len(labels)) if indices is None else indices

    @cached_property
    def images(self) -> Pixels:
        """All of them, ``(N, H, W, 3)``."""
        return self._make(self._indices, self.conditions)

    def part(self, chosen: Indices) -> "ConditionedArrays":
        """Those of some indices; the others need not be made."""
        own = self.labels[chosen], self.conditions[chosen]
        return ConditionedArrays(*own, self.names, self._make, self._indices[chosen])


class Corrupted:
    """The images of one domain of a data set under a corruption (``uan_da.data.corruptions``).

    A domain is the name of a corruption or condition, or ``mixed``: of each image one of the set's conditions, drawn by
    a hash of the seed and the image's index. What an image becomes is a function of the seed, the corruption, the split
    and its index in the clean data set.
    """

    def __init__(
        self,
        *,
        dataset: str,
        domain: str,
        conditions: Conditions = "imagenet_c",
        severity: Annotated[int, Field(ge=1, le=5)] = 5,
        seed: int = 0,
        train_part: Literal["all", "first_half", "second_half"] = "all",
        limit: Annotated[int, Field(ge=1)] | None = None,
    ) -> None:
        """``dataset`` and ``domain`` name the clean images, as a recipe does. ``mixed`` draws from the set
        ``conditions``: the fifteen corruptions of ImageNet-C, or the eight photometric conditions.

        ``train_part``: the part of the clean training images that is used, for a source and a target that share none.
        ``limit``: so many images of a split at most, the first ones.
        """
        self.dataset, self.domain, self.conditions = dataset, domain, conditions
        self.severity, self.seed, self.train_part, self.limit = severity, seed, train_part, limit

    def load(self, domain: str, split: Split) -> ConditionedArrays:
        """The corrupted images, all of one size, in the order of the clean ones."""
        among = SETS[self.conditions]
        known: Mapping[str, Corruption] = {**FIFTEEN, **EXTRA, **EIGHT}
        if domain != MIXED and domain not in known:
            raise UserError(unknown("corruption", domain, [*known, MIXED]))
        clean = self._clean(split)
        names = [domain] if domain != MIXED else list(among)
        drawn = [fold(self.seed, MIXED, split, index) % len(names) for index in range(len(clean))]
        conditions = np.array(drawn, dtype=np.int64)
        corruptions = [known[name] for name in names]

        def make(indices: Indices, of: Indices) -> Pixels:
            corrupted = np.empty((len(indices), *clean.images.shape[1:3], 3), dtype=np.uint8)
            for number, (name, corruption) in enumerate(zip(names, corruptions, strict=True)):
                (own,) = np.nonzero(of == number)
                for chunk in np.array_split(own, max(1, len(own) // CHUNK)):
                    if len(chunk):
                        draws = Draws.of(indices[chunk], self.seed, name, split)
                        corrupted[chunk] = corruption(clean.images[indices[chunk]], draws, self.severity)
            return corrupted

        return ConditionedArrays(clean.labels, conditions, names, make)

    def _clean(self, split: Split) -> Arrays:
        """The clean images that are used."""
        from uan_da.data.open_dataset import open_dataset  # which knows this adapter by its name

        found = open_dataset(self.dataset).load(self.domain, split)
        clean = found if isinstance(found, Arrays) else _as_arrays(found)
        half = len(clean) // 2
        parts = {"all": (0, len(clean)), "first_half": (0, half), "second_half": (half, len(clean))}
        start, end = parts["all" if split == "test" else self.train_part]
        part = slice(start, end if self.limit is None else min(end, start + self.limit))
        return Arrays(clean.images[part], clean.labels[part])


def _as_arrays(examples: Examples) -> Arrays:
    """All images in memory, which takes that they have one size."""
    images = [np.asarray(_rgb(examples[index][0])) for index in range(len(examples))]
    sizes = sorted({image.shape[:2] for image in images})
    if len(sizes) > 1:
        raise UserError(
            f"corruptions need images of one size, and these are {sizes[0][1]}×{sizes[0][0]}, "
            f"{sizes[1][1]}×{sizes[1][0]} and so on: resize them first"
        )
    return Arrays(np.stack(images), labels_of(examples).numpy())


def _rgb(image: Image.Image) -> Image.Image:
    return image.convert("RGB")
