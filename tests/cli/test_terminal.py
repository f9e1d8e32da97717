"""Names are shown as they are, on any output."""

import codecs
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from uan_da.cli import terminal
from uan_da.cli.terminal import Output, print_sheet, rich_console, rich_table
from uan_da.sweeps.sheet import Sheet

NAMES = ["studio:phone:", "street [red]", "[/x]", "[bold]b[/bold]", "源域", "a" * 40]


def test_brackets_and_colons_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    console = rich_console()
    sheet = Sheet("[red] :phone:", ["[b]method", "[/x]"], [[name, name] for name in NAMES], 1, ["note [red] :x:"])
    print_sheet(console, sheet)
    console.print(*NAMES)
    printed = capsys.readouterr().out
    for text in (sheet.title, *sheet.head, *NAMES, *sheet.notes):
        assert text in printed
    assert all(printed.count(name) == 3 for name in NAMES[:2])


@pytest.mark.parametrize("width", [30, 80, 160])
def test_a_wide_sheet_is_printed_in_parts_and_nothing_is_cut(width: int) -> None:
    head = ["method", "norm", *(f"domain_{i}:target_{i}" for i in range(9))]
    rows = [["source_only", "uan K=8 shrink=0.5", *(f"{i}{i}.{i} ± 0.{i}" for i in range(9))] for _ in range(2)]
    out = io.StringIO()
    print_sheet(Console(file=out, width=width, markup=False), Sheet("title", head, rows, 2, ["note"]))
    lines = out.getvalue().splitlines()
    assert max(map(cell_len, lines)) <= width
    assert "…" not in out.getvalue()
    if width >= 80:
        for text in (*head, *rows[0]):
            assert text in out.getvalue()
    assert sum(line.startswith("title") for line in lines) == sum("note" in line for line in lines) == 1


def test_brackets_are_no_markup() -> None:
    out = io.StringIO()
    sheet = Sheet("[red] [/a]", ["[b]method", "[/x]"], [["[bold]", "[/]"]], 1)
    Console(file=out, width=80).print(rich_table(sheet))
    for text in (sheet.title, *sheet.head, *sheet.rows[0]):
        assert text in out.getvalue()


def test_what_an_encoding_lacks_is_spelled() -> None:
    codecs.register_error("uan_da", terminal._spell)
    assert "a→b 1 ± 2 – 源 é".encode("ascii", "uan_da") == rb"a->b 1 +- 2 - \u6e90 \xe9"
    assert b"\xff.png".decode("utf-8", "surrogateescape").encode("utf-8", "uan_da") == rb"\xff.png"


def test_an_output_whose_reader_has_gone_takes_more() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with Output(writer, "w") as output:
        assert output.write(b"abc") == 3
        assert output.error is None


def test_an_output_that_fails_takes_more_and_says_so() -> None:
    with Output("/dev/full", "w") as output:
        assert output.write(b"abc") == 3
        assert output.error is not None


MAIN = "import sys; from uan_da.cli.app import main; sys.argv = ['uan-da', *sys.argv[1:]]; main()"


@pytest.mark.parametrize("redirect", ["", " >&-", " 2>&-", " >&- 2>&- <&-"])
def test_ascii_and_closed_streams(redirect: str) -> None:
    command = ["sh", "-c", f'exec "$0" -c "$1" recipe check →源{redirect}', sys.executable, MAIN]
    done = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 2
    assert done.stderr.startswith(b"" if "2>" in redirect else rb"error: unknown recipe '->\u6e90'")
    assert b"Traceback" not in done.stderr


@pytest.mark.parametrize(("target", "code"), [("/dev/full", 1), ("| head -c 1 >first", 0)])
def test_full_and_ended_output(tmp_path: Path, target: str, code: int) -> None:
    redirect = target if target.startswith("|") else f"> {target}"
    command = f'("$0" -c "$1" list recipes; echo $? >code) {redirect}'
    done = subprocess.run(["sh", "-c", command, sys.executable, MAIN], cwd=tmp_path, capture_output=True, text=True)
    assert int((tmp_path / "code").read_text()) == code, done.stderr
    assert done.stderr == ("" if code == 0 else "error: standard output: cannot be written: No space left on device\n")
