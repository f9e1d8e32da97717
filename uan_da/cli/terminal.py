"""What is printed, on whatever the output is: a terminal, a file, a pipe that ends, an encoding without arrows."""

import codecs
import io
import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from uan_da.sweeps.sheet import Sheet

SPELLED = {"→": "->", "–": "-", "±": "+-", "×": "x", "−": "-", "▼": "v", "…": "...", "━": "=", "≥": ">=", "≤": "<="}
"""Our own characters where the output cannot print them; others are shown as escapes."""
PLAIN_WIDTH = 160
"""Columns where there is no terminal."""


class Output(io.FileIO):
    """A standard stream that no failure stops: a training goes on, and what it found is on disk.

    What cannot be written is dropped. That is right where a pipe's reader has had enough; any other ``error`` is kept,
    for the command's end to say.
    """

    error: OSError | None = None

    def write(self, data: "bytes | memoryview", /) -> int:  # type: ignore[override]
        """All of ``data``, or as good as that."""
        try:
            return super().write(data)
        except BrokenPipeError:
            return len(data)
        except OSError as error:
            self.error = error
            return len(data)


def prepare_streams() -> Output | None:
    """Let standard output and standard error take anything that is printed; the former, where it is the process's."""
    codecs.register_error("uan_da", _spell)
    if sys.stdout is None:  # closed; the next file that is opened must not become it
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    output = None
    if sys.__stdout__ is not None and sys.stdout is sys.__stdout__:
        terminal, encoding = sys.stdout.isatty(), sys.stdout.encoding
        output = Output(sys.stdout.fileno(), "w", closefd=False)
        sys.stdout = io.TextIOWrapper(io.BufferedWriter(output), encoding, "uan_da", line_buffering=terminal)
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="uan_da")
    return output


def _spell(error: UnicodeError) -> tuple[str, int]:
    """What stands for characters that an encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    return "".join(SPELLED.get(char) or _escape(char) for char in found), error.end


def _escape(char: str) -> str:
    if "\udc80" <= char <= "\udcff":  # a byte of a file's name that is no text
        return f"\\x{ord(char) - 0xDC00:02x}"
    return char.encode("ascii", "backslashreplace").decode()


def rich_console() -> "Console":
    """A console of standard output that shows every text as it is: neither ``[red]`` nor ``:phone:`` means anything."""
    from rich.console import Console

    plain = not sys.stdout.isatty()
    width = PLAIN_WIDTH if plain else None
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=plain, width=width)


def print_sheet(console: "Console", sheet: "Sheet") -> None:
    """A sheet as tables that are no wider than the console; words that are too long for that are folded, never cut."""
    from rich.cells import cell_len

    from uan_da.sweeps.sheet import parts

    cells = zip(sheet.head, *sheet.rows, strict=True)
    widths = [max(map(cell_len, column)) + 3 for column in cells]  # a border and a space on each side
    for part in parts(sheet, widths, console.width - 1):
        console.print(rich_table(part), soft_wrap=False)
        for note in part.notes:
            console.print(f"  {note}", soft_wrap=True)


def rich_table(sheet: "Sheet") -> "Table":
    """A sheet for the terminal."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=Text(sheet.title, "table.title") if sheet.title else None, title_justify="left")
    for i, head in enumerate(sheet.head):
        table.add_column(Text(head), justify="left" if i < sheet.text else "right", overflow="fold")
    for row in sheet.rows:
        table.add_row(*map(Text, row))
    return table
