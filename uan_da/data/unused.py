"""Files of a data set that nothing reads, by the reason."""

import os
import shlex
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from uan_da.data.card_dataset import CardDataset
from uan_da.data.formats import NEEDS, suffixes
from uan_da.data.listing import is_visible, list_files
from uan_da.errors import DataWarning

SHOWN = 3
"""File names given where many have the same reason."""


@dataclass(frozen=True)
class Unused:
    """Files that are left out for one reason; ``images``: a user might believe that they are used."""

    reason: str
    images: bool
    paths: tuple[Path, ...]

    def __str__(self) -> str:
        return f"{len(self.paths)} file(s) not used: {self.reason}: {listed([str(path) for path in self.paths])}"


def unused_files(dataset: CardDataset, used: Iterable[Path], domains: Iterable[str]) -> list[Unused]:
    """All files in the data set's folder that are not ``used``, except those in the folders of other domains.

    Args:
        dataset: whose folder is searched; links are followed.
        used: the images of ``domains``.
        domains: of which all images are in ``used``.
    """
    wanted = set(domains)
    others = {card.path or name for name, card in dataset.card.domains.items() if name not in wanted}
    taken = {os.path.abspath(path) for path in [*used, *_tables(dataset)]}
    above = {str(parent) for path in map(os.path.abspath, used) for parent in Path(path).parents}
    found: dict[tuple[bool, str], list[Path]] = {}
    for path in list_files(dataset.folder):
        place = os.path.abspath(path)
        if place in taken or place in above or path.relative_to(dataset.folder).parts[0] in others:
            continue
        found.setdefault(_reason(path, dataset.folder, above), []).append(path)
    return [Unused(reason, images, tuple(paths)) for (images, reason), paths in sorted(found.items(), reverse=True)]


def _tables(dataset: CardDataset) -> Iterator[Path]:
    """The tables and lists that the card's adapters read."""
    for name, card in dataset.card.domains.items():
        adapter = card.adapter or dataset.card.adapter
        file = adapter.options.get("file") if adapter else None
        if isinstance(file, str):
            for split in ("train", "test"):
                yield dataset.folder / file.replace("{domain}", card.path or name).replace("{split}", split)


def warn_of_unused(dataset: CardDataset, used: Iterable[Path], domains: Iterable[str]) -> None:
    """A :class:`DataWarning` for images that a training leaves out."""
    for unused in unused_files(dataset, used, domains):
        if unused.images:
            text = f"{unused}\nall that is left out: uan-da datasets check {shlex.quote(dataset.name)}"
            warnings.warn(text, DataWarning, stacklevel=2)


def _reason(path: Path, folder: Path, above: set[str]) -> tuple[bool, str]:
    """Whether it may be an image, and why it is not used."""
    suffix = path.suffix.lower()
    if not is_visible(path, folder):
        return False, "hidden"
    if path.is_dir():
        return True, "a link to a folder that is read already"
    if path.is_symlink() and not path.exists():
        return suffix in suffixes(), "a broken link"
    if suffix not in suffixes():
        if suffix in NEEDS:
            return True, f"{suffix} is read after: pip install {NEEDS[suffix]}"
        return False, f"no image ({suffix or 'without a suffix'})"
    if os.path.abspath(path.parent) in above:
        return True, "images beside the folders or images that are used"
    return True, "in no folder, and on no list, of the data set's domains"


def listed(names: list[str]) -> str:
    """The first names, and how many more there are."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
