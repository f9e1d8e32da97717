"""Folders of images, one a class."""

from collections.abc import Sequence
from pathlib import Path

from uan_da.data.adapter import UNKNOWN, MissingData, Split
from uan_da.data.image_files import ImageFiles, list_images
from uan_da.data.split import SplitRule, in_split


class Folder:
    """Image folders, ``<domain>/<class>/*`` or another layout; a layout without a class is unlabelled."""

    def __init__(
        self, folder: Path, classes: Sequence[str], *, layout: str = "{domain}/{class}", split: SplitRule = "hash"
    ) -> None:
        """``layout`` may hold ``{domain}``, ``{class}`` and ``{split}``; with the last, ``split`` has no say."""
        self.folder, self.classes, self.layout, self.split = folder, classes, layout, split

    def load(self, domain: str, split: Split) -> ImageFiles:
        """The images of the classes' folders, in the order of the classes and of the files' names."""
        top = self.folder / self.layout.partition("{class}")[0].format(domain=domain, split=split)
        if not top.is_dir():
            raise MissingData(f"{top}: no such folder")
        labelled = "{class}" in self.layout
        paths: list[Path] = []
        labels: list[int] = []
        for label, name in enumerate(self.classes) if labelled else [(UNKNOWN, "")]:
            place = self.folder / self.layout.format_map({"domain": domain, "split": split, "class": name})
            found = [path for path in list_images(place) if self._has(path.relative_to(top), split)]
            paths += found
            labels += [label] * len(found)
        return ImageFiles(paths, labels)

    def _has(self, name: Path, split: Split) -> bool:
        return "{split}" in self.layout or in_split(name.as_posix(), split, self.split)
