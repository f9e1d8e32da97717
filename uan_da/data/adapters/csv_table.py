"""CSV tables with a column of image files."""

import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path

from uan_da.data.adapter import UNKNOWN, Split
from uan_da.data.image_files import ImageFiles
from uan_da.data.split import SplitRule, in_split, usual_splits
from uan_da.data.table_file import Row, read_table
from uan_da.errors import UserError
from uan_da.names import unknown


class CsvTable:
    """A CSV table with columns for image, label, and where the table has them domain and split."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        file: str = "{domain}.csv",
        image: str = "image",
        label: str | None = "label",
        domain: str | None = None,
        by_folder: bool = False,
        split: str | None = None,
        split_rule: SplitRule = "hash",
        images: str = "",
    ) -> None:
        """``image``, ``label``, ``domain`` and ``split`` are names of columns.

        A label is a class's name or its index; an empty cell, or no column, is unlabelled. ``split`` holds ``train``
        and ``test``, or what is usual for them; without it ``split_rule`` decides. Paths are relative to the folder
        ``images`` of the data set, which may hold ``{domain}``. ``by_folder``: the first folder in an image's path is
        its domain.
        """
        self.folder, self.classes, self.file, self.images = folder, classes, file, images
        self.image, self.label, self.domain, self.split, self.split_rule = image, label, domain, split, split_rule
        self.by_folder = by_folder
        self._indices = {unicodedata.normalize("NFC", name): index for index, name in enumerate(classes)}

    def load(self, domain: str, split: Split) -> ImageFiles:
        """The rows of the domain and split, in their order.

        Raises:
            MissingData: there is no such table.
            UserError: the table is not one, lacks a column, or a cell has a class or split that is none.
        """
        path = self.folder / self.file.format(domain=domain)
        columns = [name for name in (self.image, self.label, self.domain, self.split) if name is not None]
        rows = read_table(path, columns)
        for line, row in rows.items():
            if not row[self.image]:
                raise UserError(f"{path}:{line}: no image (the column {self.image!r} is empty)")
        parts = self._parts(path, rows)
        chosen = {
            line: row for line, row in rows.items() if self._of_domain(row, domain) and self._has(row, split, parts)
        }
        base = self.folder / self.images.format(domain=domain)
        labels = [
            UNKNOWN if self.label is None else self._index(path, line, row[self.label]) for line, row in chosen.items()
        ]
        return ImageFiles([base / row[self.image] for row in chosen.values()], labels)

    def _of_domain(self, row: Row, domain: str) -> bool:
        if self.by_folder:
            return Path(row[self.image]).parts[0] == domain
        return self.domain is None or row[self.domain] == domain

    def _has(self, row: Row, split: Split, parts: Mapping[Split, Sequence[str]]) -> bool:
        if self.split is None:
            return in_split(row[self.image], split, self.split_rule)
        return row[self.split] in parts[split]

    def _parts(self, path: Path, rows: Mapping[int, Row]) -> Mapping[Split, Sequence[str]]:
        """What the table calls train and test."""
        if self.split is None:
            return {}
        parts = usual_splits({row[self.split] for row in rows.values()}) or {"train": ["train"], "test": ["test"]}
        known = [name for names in parts.values() for name in names]
        for line, row in rows.items():
            if row[self.split] not in known:
                raise UserError(f"{path}:{line}: {unknown('split', row[self.split], known)}")
        return parts

    def _index(self, path: Path, line: int, cell: str) -> int:
        cell = unicodedata.normalize("NFC", cell)
        if cell == "":
            return UNKNOWN
        if cell in self._indices:
            return self._indices[cell]
        if cell.isdecimal() and int(cell) < len(self.classes):
            return int(cell)
        raise UserError(f"{path}:{line}: {unknown('class', cell, self.classes)}")
