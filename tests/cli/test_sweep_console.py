from io import StringIO

from rich.console import Console

from uan_da.cli.sweep_console import rich_table
from uan_da.sweeps.sheets import Sheet


def test_brackets_are_no_markup() -> None:
    out = StringIO()
    sheet = Sheet("[red] [/a]", ["[b]method", "[/x]"], [["[bold]", "[/]"]], 1)
    Console(file=out, width=80).print(rich_table(sheet))
    for text in (sheet.title, *sheet.head, *sheet.rows[0]):
        assert text in out.getvalue()
