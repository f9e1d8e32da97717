"""Folders of images, one a class."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from uan_da.data.adapter import UNKNOWN, MissingData, Split
from uan_da.data.image_files import ImageFiles
from uan_da.data.listing import list_images
from uan_da.data.split import SplitRule, in_split


class Folder:
    """Image folders, ``<domain>/<class>/*`` or another layout; a layout without a class is unlabelled."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        layout: str = "{domain}/{class}",
        split: SplitRule = "hash",
        splits: Mapping[Split, Sequence[str]] | None = None,
    ) -> None:
        """``layout`` may hold ``{domain}``, ``{class}`` and ``{split}``; with the last, ``split`` has no say.

        ``splits`` are the names of the folders that ``{split}`` stands for: ``{train: [train, val], test: [test]}``.
        """
        self.folder, self.classes, self.layout, self.split = folder, classes, layout, split
        self.splits = splits or {"train": ["train"], "test": ["test"]}

    def load(self, domain: str, split: Split) -> ImageFiles:
        """The images of the classes' folders, in the order of the classes and of the files' names."""
        tops = [self._top(domain, name) for name in (self.splits[split] if "{split}" in self.layout else [""])]
        labelled = "{class}" in self.layout
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes) if labelled else [(UNKNOWN, "")]:
            for top in tops:
                place = self._class_folder(top, name) if labelled else top
                found = [path for path in list_images(place) if self._has(path.relative_to(top), split)]
                paths += found
                labels += [label] * len(found)
        return ImageFiles(paths, labels)

    def _top(self, domain: str, split: str) -> Path:
        """The folder that holds the classes' folders."""
        top = self.folder / self.layout.partition("{class}")[0].format(domain=domain, split=split)
        if not top.is_dir():
            raise MissingData(f"{top}: no such folder")
        return top

    def _class_folder(self, top: Path, name: str) -> Path:
        """The class's folder, also where the file system spells its name in another form of Unicode."""
        below = self.layout.partition("{class}")[2]
        if not (top / name).exists():
            form = unicodedata.normalize("NFC", name)
            same = [entry.name for entry in top.iterdir() if unicodedata.normalize("NFC", entry.name) == form]
            name = same[0] if same else name
        return Path(f"{top / name}{below}")

    def _has(self, name: Path, split: Split) -> bool:
        return "{split}" in self.layout or in_split(name.as_posix(), split, self.split)
