"""CSV tables of the user."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from uan_da.data.user_files import read_text
from uan_da.errors import UserError
from uan_da.names import unknown

Row = Mapping[str, str]
SEPARATORS = ",;\t"


def read_table(path: Path, columns: Sequence[str] = ()) -> dict[int, Row]:
    """The rows of a table by their lines in the file, each with all columns of the head.

    Columns are separated by commas, semicolons or tabs: by what the head has most of. Empty lines do not count.

    Raises:
        MissingData: there is no such file.
        UserError: it is no UTF-8, empty, a row has more or fewer cells than the head, or one of ``columns`` is missing.
    """
    reader = csv.reader(io.StringIO(text := read_text(path), newline=""), delimiter=_separator(text), strict=True)
    try:
        head = [name.strip() for name in next(reader, [])]
        if not any(head):
            raise UserError(f"{path}: the table is empty")
        for name in columns:
            if name not in head:
                raise UserError(f"{path}: {unknown('column', name, head)}")
        return dict(_rows(path, reader, head))
    except csv.Error as error:
        raise UserError(f"{path}:{reader.line_num}: not a CSV table ({error})") from None


def _rows(path: Path, reader: "Iterator[list[str]]", head: Sequence[str]) -> Iterator[tuple[int, Row]]:
    for cells in reader:
        line = reader.line_num  # type: ignore[attr-defined]
        if not any(cells):
            continue
        if len(cells) != len(head):
            raise UserError(f"{path}:{line}: {len(cells)} cells, and the head has {len(head)}")
        yield line, dict(zip(head, map(str.strip, cells), strict=True))


def _separator(text: str) -> str:
    head = text.partition("\n")[0]
    return max(SEPARATORS, key=head.count)
