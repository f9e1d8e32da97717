"""Text files that list images, ``path label`` a line."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from uan_da.data.adapter import UNKNOWN, Split
from uan_da.data.image_files import ImageFiles
from uan_da.data.split import SplitRule, in_split
from uan_da.data.user_files import read_text
from uan_da.errors import UserError


class ListFile:
    """List files, ``path label`` a line, as TLLib and DomainNet ship them; a line without a label is unlabelled."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        file: str = "{domain}_{split}.txt",
        images: str = "",
        split: SplitRule = "hash",
    ) -> None:
        """``file`` may hold ``{domain}`` and ``{split}``; with the latter, ``split`` has no say.

        Paths are relative to the folder ``images`` of the data set.
        """
        self.folder, self.classes, self.file, self.images, self.split = folder, classes, file, images, split

    def load(self, domain: str, split: Split) -> ImageFiles:
        """The images that the list names, in its order."""
        listing = self.folder / self.file.format(domain=domain, split=split)
        rows = [row for row in self._rows(listing) if self._has(row[0], split)]
        base = self.folder / self.images
        return ImageFiles([base / name for name, _ in rows], [label for _, label in rows])

    def _rows(self, listing: Path) -> Iterator[tuple[str, int]]:
        for number, line in enumerate(read_text(listing).splitlines(), start=1):
            if not line.strip():
                continue
            name, _, last = line.strip().rpartition(" ")
            if not name or not last.lstrip("-").isdecimal():
                yield line.strip(), UNKNOWN
                continue
            label = int(last)
            if not UNKNOWN <= label < len(self.classes):
                raise UserError(
                    f"{listing}:{number}: label {label} is not one of the {len(self.classes)} classes "
                    f"(0 to {len(self.classes) - 1}; {UNKNOWN} is unknown)"
                )
            yield name.strip(), label

    def _has(self, name: str, split: Split) -> bool:
        return "{split}" in self.file or in_split(name, split, self.split)
