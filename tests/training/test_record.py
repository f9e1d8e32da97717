"""``record.json`` as a disk may leave it."""

import json
from pathlib import Path

import pytest

from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.training.record import Record

RECORD = Record.of(load_recipe("digits"))


def test_a_record_is_read_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / "record.json").write_text(RECORD.text)
    read = Record.read(tmp_path / "record.json")
    assert (read.classes, read.input) == (RECORD.classes, RECORD.input)
    read.check_same(RECORD, "a run")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (json.loads(RECORD.text)["domains"]["optdigits"]["train"]["digest"], "9aa3<f0d"),
        (json.loads(RECORD.text)["domains"]["optdigits"]["test"]["classes"]["3"][1], "9aa3<f0d"),
        ('"digest"', '"dhgest"'),
        ('"unlabelled"', '"unlabelmed"'),
        ('"train"', '"trahn"'),
        ('"classes": [', '"clasres": ['),
        ('"size": 28', '"size": "x"'),
        ('"unlabelled": [\n     0', '"unlabelled": [\n     "p"'),
        ('"unlabelled": [\n     0', '"unlabelled": [\n     -3'),
        ('"domains": {', '"domains": [], "x": {'),
    ],
)
def test_what_is_no_record_any_more_is_refused_when_it_is_read(tmp_path: Path, before: str, after: str) -> None:
    assert before in RECORD.text
    (tmp_path / "record.json").write_text(RECORD.text.replace(before, after))
    with pytest.raises(UserError, match="is damaged"):
        Record.read(tmp_path / "record.json")
