"""CSV tables of labels beside images, found by looking."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from uan_da.data.folder_layout import Layout
from uan_da.data.formats import suffixes
from uan_da.data.table_file import Row, read_table
from uan_da.errors import UserError

COLUMNS: Mapping[str, Sequence[str]] = {
    "image": ("image", "file", "filename", "file_name", "path", "filepath", "image_path", "img"),
    "label": ("label", "class", "category", "class_name"),
    "domain": ("domain", "site"),
    "split": ("split", "set", "subset", "partition"),
}
"""What the columns of such a table are called, in lower case."""


@dataclass(frozen=True)
class Table:
    """A table that names image files."""

    path: Path
    columns: Mapping[str, str]
    """Of ``image``, and where it has them ``label``, ``domain``, ``split``: what the column is called."""
    rows: Sequence[Row]

    def cells(self, column: str) -> list[str]:
        """The cells of ``image``, ``label``, ``domain`` or ``split``; none where the table lacks it."""
        return [row[self.columns[column]] for row in self.rows] if column in self.columns else []

    @property
    def classes(self) -> frozenset[str]:
        """The labels that occur."""
        return frozenset(self.cells("label")) - {""}

    def layout(self, file: str, images: str, **options: Any) -> Layout:
        """An adapter for the table; ``file`` and ``images`` may hold ``{domain}``."""
        named = {key: self.columns.get(key) for key in ("image", "label", "split")}
        return Layout({"name": "csv_table", "file": file, "images": images, **named, **options}, self.classes)


def tables_in(folder: Path) -> list[Table]:
    """The CSV files in ``folder`` that have a column of images, in the order of their names.

    Raises:
        UserError: one cannot be read.
    """
    paths = sorted(path for path in folder.iterdir() if path.suffix.lower() == ".csv" and path.is_file())
    return [table for path in paths if (table := read_images_table(path)) is not None]


def read_images_table(path: Path) -> Table | None:
    """The table in a CSV file; None where no column has image files.

    Raises:
        UserError: it cannot be read.
    """
    rows = list(read_table(path).values())
    head = {name.lower(): name for name in (rows[0] if rows else ())}
    columns = {
        key: head[next(name for name in names if name in head)]
        for key, names in COLUMNS.items()
        if any(name in head for name in names)
    }
    if "image" not in columns or not any(Path(row[columns["image"]]).suffix.lower() in suffixes() for row in rows):
        return None
    return Table(path, columns, rows)


def base_of(table: Table, folder: Path, candidates: Iterable[str]) -> str:
    """The first of the ``candidates``, folders below ``folder``, in which most images of the table lie.

    Raises:
        UserError: none of them holds one.
    """
    found = {name: sum((folder / name / image).is_file() for image in table.cells("image")) for name in candidates}
    best = max(found, key=lambda name: found[name])
    if not found[best]:
        raise UserError(f"{table.path}: none of its images is there, such as {folder / table.cells('image')[0]}")
    return best
