"""What somebody named is no formula of a spreadsheet."""

import io

import pandas as pd
import pytest

from uan_da.spreadsheet import csv_cell, meant, to_csv

FORMULAS = ["=1+1", "+cmd|x", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "='x'"]
TEXTS = ["-1", "+1e-3", "a=b", "", "'quoted", "'", "'-1", "ant"]


@pytest.mark.parametrize("text", FORMULAS)
def test_a_formula_is_text(text: str) -> None:
    assert csv_cell(text) == f"'{text}"
    assert meant(csv_cell(text)) == text


@pytest.mark.parametrize("value", [*TEXTS, -0.5, None])
def test_numbers_and_other_texts_stay(value: object) -> None:
    assert csv_cell(value) == value
    assert meant(value) == value


def test_a_table(tmp_path: object) -> None:
    table = pd.DataFrame({"=head": ["=a", None, "b\udcff"], "share": [-0.5, 1.0, 0.25], "correct": [True, None, False]})
    written = to_csv(table)
    assert written == b"'=head,share,correct\n'=a,-0.5,True\n,1.0,\nb\xff,0.25,False\n"
    again = pd.read_csv(io.BytesIO(written.replace(b"\xff", b"")))
    assert again["'=head"].map(meant, na_action="ignore").tolist()[0] == "=a"
    assert table.columns[0] == "=head"
