"""CSV files that a spreadsheet may open: what somebody named, such as a class or a file, is no formula in them."""

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

FORMULA = re.compile(r"[=+\-@\t\r]")
"""How a text begins that a spreadsheet computes."""


def csv_cell(value: object) -> object:
    """A value for a CSV file: a text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and _is_formula(value) else value


def meant(value: object) -> object:
    """What :func:`csv_cell` was given."""
    return value[1:] if isinstance(value, str) and value[:1] == "'" and _is_formula(value[1:]) else value


def to_csv(table: "pd.DataFrame") -> bytes:
    """A table as CSV in UTF-8, with :func:`csv_cell` of every text; names of files need not be text."""
    texts = [name for name, column in table.items() if column.dtype.kind not in "iufb"]
    cells = table.assign(**{str(name): table[name].map(csv_cell) for name in texts}).rename(columns=csv_cell)
    return cells.to_csv(index=False).encode("utf-8", "surrogateescape")


def _is_formula(text: str) -> bool:
    if not FORMULA.match(text):
        return False
    try:
        float(text)
    except ValueError:
        return True
    return False
