"""What a data set holds, by the heads of its image files: nothing is decoded."""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from os import cpu_count
from pathlib import Path
from statistics import median_low

import numpy as np
from PIL import ExifTags, Image

from uan_da.data.adapter import UNKNOWN, Split
from uan_da.data.card_dataset import CardDataset
from uan_da.data.formats import formats
from uan_da.data.image_files import ImageFiles
from uan_da.data.unused import Unused, unused_files
from uan_da.errors import UserError
from uan_da.recipe.task_name import TaskName

SAMPLE = 400
"""Of a larger domain, the heads of so many images are read, evenly spread."""
SPLITS: Sequence[Split] = ("train", "test")


@dataclass(frozen=True)
class Look:
    """One domain: its images, how many of each class, and sizes and formats of those whose heads were read."""

    name: str
    paths: Sequence[Path]
    counts: Mapping[str, int]
    """By class; classes without images are not there."""
    sizes: Sequence[tuple[int, int]]
    """Width and height, upright."""
    formats: Mapping[str, int]

    @property
    def labelled(self) -> int:
        """Images with a label."""
        return sum(self.counts.values())

    @property
    def is_source(self) -> bool:
        """Whether every image has a label."""
        return self.labelled == len(self.paths)


@dataclass(frozen=True)
class Survey:
    """All domains of a data set, and the files that are none of its images."""

    domains: Sequence[Look]
    unused: Sequence[Unused]

    @property
    def short_side(self) -> int:
        """The median of the images' shorter sides, in pixels; 0 where no head can be read."""
        sides = [min(size) for look in self.domains for size in look.sizes]
        return median_low(sides) if sides else 0

    def task(self) -> TaskName:
        """From all that is labelled to what has fewest labels; of labelled domains, from the largest to the next.

        A domain that is alone is its own target.

        Raises:
            UserError: no domain has a label for each image.
        """
        sources = sorted((look for look in self.domains if look.is_source), key=lambda look: -len(look.paths))
        if not sources:
            counts = ", ".join(f"{look.name} {look.labelled} of {len(look.paths)}" for look in self.domains)
            raise UserError(f"no domain has a label for each of its images, as a source must ({counts})")
        names = [look.name for look in sources]
        targets = sorted((look for look in self.domains if not look.is_source), key=lambda look: look.labelled)
        if targets:
            return TaskName(sources=tuple(names), target=targets[0].name)
        return TaskName(sources=(names[0],), target=names[:2][-1])


def survey(dataset: CardDataset) -> Survey:
    """Look at every domain of a data set of image files.

    Raises:
        UserError: a domain cannot be read.
    """
    looks = [_look(dataset, name) for name in dataset.domains]
    used = [path for look in looks for path in look.paths]
    return Survey(looks, unused_files(dataset, used, dataset.domains) if dataset.found_by_looking else [])


def _look(dataset: CardDataset, name: str) -> Look:
    parts = [dataset.load(name, split) for split in SPLITS]
    labels = {
        path: label
        for part in parts
        if isinstance(part, ImageFiles)
        for path, label in zip(part.paths, part.labels, strict=True)
    }
    paths = sorted(labels)
    counts = Counter(dataset.classes[label] for label in labels.values() if label != UNKNOWN)
    chosen = np.unique(np.linspace(0, len(paths) - 1, min(SAMPLE, len(paths))).astype(int)).tolist() if paths else []
    with ThreadPoolExecutor(cpu_count()) as pool:
        heads = [head for head in pool.map(_head, [paths[i] for i in chosen]) if head is not None]
    return Look(name, paths, counts, [size for size, _ in heads], Counter(kind for _, kind in heads))


def _head(path: Path) -> tuple[tuple[int, int], str] | None:
    """Size and format; None of what is no image, which ``uan-da datasets check`` names."""
    try:
        with Image.open(path, formats=formats()) as image:
            width, height = image.size
            turned = image.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
            return ((height, width) if turned else (width, height)), image.format or "?"
    except Exception:  # decoders raise all kinds on damaged files
        return None
