"""CSV tables with a column of image files."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from uan_da.data.adapter import UNKNOWN, MissingData, Split
from uan_da.data.image_files import ImageFiles
from uan_da.data.split import SplitRule, in_split
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
        split: str | None = None,
        split_rule: SplitRule = "hash",
        images: str = "",
    ) -> None:
        """``image``, ``label``, ``domain`` and ``split`` are names of columns.

        A label is a class's name or its index; an empty cell, or no column, is unlabelled. ``split`` holds ``train``
        and ``test``; without it ``split_rule`` decides. Paths are relative to the folder ``images`` of the data set.
        """
        self.folder, self.classes, self.file, self.images = folder, classes, file, images
        self.image, self.label, self.domain, self.split, self.split_rule = image, label, domain, split, split_rule

    def load(self, domain: str, split: Split) -> ImageFiles:
        """The rows of the domain and split, in their order."""
        path = self.folder / self.file.format(domain=domain)
        if not path.is_file():
            raise MissingData(f"{path}: no such file")
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        for column in (self.image, self.label, self.domain, self.split):
            if column is not None and column not in table.columns:
                raise UserError(f"{path}: {unknown('column', column, map(str, table.columns))}")
        if self.domain is not None:
            table = table[table[self.domain] == domain]
        names = table[self.image]
        chosen = [in_split(name, split, self.split_rule) for name in names]
        table = table[table[self.split] == split] if self.split is not None else table[chosen]
        labels = (
            [UNKNOWN] * len(table) if self.label is None else [self._index(path, cell) for cell in table[self.label]]
        )
        return ImageFiles([self.folder / self.images / name for name in table[self.image]], labels)

    def _index(self, path: Path, cell: Any) -> int:
        if cell == "":
            return UNKNOWN
        if cell in self.classes:
            return list(self.classes).index(cell)
        if cell.isdecimal() and int(cell) < len(self.classes):
            return int(cell)
        raise UserError(f"{path}: {unknown('class', cell, self.classes)}")
