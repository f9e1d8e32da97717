"""What a user named stays text, in each format."""

import csv
from collections.abc import Callable
from pathlib import Path

from uan_da.sweeps.formats import latex, markdown
from uan_da.sweeps.results import Result, write_csv
from uan_da.sweeps.sheet import Sheet

EVIL = "a\n\\input{x}\r\n% <img src=x onerror=alert(1)> | [b](javascript:c) $d$"


def test_nothing_in_a_table_is_tex() -> None:
    text = latex([Sheet(EVIL, [EVIL], [[EVIL]], 1)], [EVIL])
    *table, comment = text.splitlines()
    assert comment.startswith("% a \\input")  # one line, and a comment
    for line in table[1:]:
        assert "\\input" not in line
        assert "$d$" not in line
        assert "<img" not in line
    assert r"a \textbackslash{}input\{x\} \%" in text


def test_nothing_in_a_table_is_html_or_a_link() -> None:
    text = markdown([Sheet(EVIL, [EVIL], [[EVIL]], 1)], [EVIL])
    assert "<img" not in text
    assert "](" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert [line.replace("\\|", "").count("|") for line in rows] == [2, 2, 2]
    assert "&lt;img" in text


def test_results_csv(done: Callable[..., Result], tmp_path: Path) -> None:
    write_csv(tmp_path / "results.csv", [done("=evil()", 0, 0.5, task="=a:b\nc", shift=-1)])
    with (tmp_path / "results.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["method"] == "'=evil()"
    assert row["task"] == "'=a:b\nc"
    assert row["shift"] == "-1"
    assert row["target_last"] == "0.5"
