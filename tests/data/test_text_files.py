"""Lists and tables that other programs wrote: read, or one message that names the file and line."""

import os
from pathlib import Path

import pytest

from uan_da.data.adapters.csv_table import CsvTable
from uan_da.data.adapters.list_file import ListFile
from uan_da.data.split import in_split, usual_splits
from uan_da.data.table_file import read_table
from uan_da.errors import UserError

CLASSES = ("ant", "café")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the table is empty"),
        (b"\n\n", "the table is empty"),
        ("image,label\n1.jpg,café\n".encode("latin-1"), r":2: not UTF-8 \(byte 0xe9\)"),
        ("image,label\n1.jpg,ant\n".encode("utf-16"), r":1: not UTF-8 \(byte 0xff\)"),
        (b"image,label\n1.jpg,ant\n2.jpg\n", ":3: 1 cells, and the head has 2"),
        (b"image,label\n1.jpg,ant,3\n", ":2: 3 cells"),
        (b'image,label\n"1.jpg,ant\n', ":2: not a CSV table"),
        (b"image,label\n\0,ant\n", "not a text file"),
        (b"image,label\n,ant\n", ":2: no image"),
        (b"image,label\n1.jpg,wasp\n", ":2: unknown class 'wasp'"),
    ],
)
def test_tables_that_are_none(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "scan.csv").write_bytes(content)
    with pytest.raises(UserError, match=rf"scan\.csv:? ?{message}"):
        CsvTable(tmp_path, CLASSES, split_rule="both").load("scan", "train")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("label", ["caf\u00e9", "cafe\u0301", "1"])
def test_tables_of_spreadsheets(tmp_path: Path, separator: str, mark: str, end: str, label: str) -> None:
    lines = [
        separator.join(cells) for cells in (("image", "label"), ("1, 2.jpg" if separator != "," else "1.jpg", label))
    ]
    (tmp_path / "scan.csv").write_bytes((mark + end.join([*lines, "", ""])).encode())
    found = CsvTable(tmp_path, CLASSES, split_rule="both").load("scan", "train")
    assert found.labels == [1]


def test_lines_are_those_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text('image,label\n\n"a\nb.jpg",ant\nc.jpg,ant\n')
    assert read_table(tmp_path / "x.csv") == {
        4: {"image": "a\nb.jpg", "label": "ant"},
        5: {"image": "c.jpg", "label": "ant"},
    }


def test_a_list_in_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "scan_train.txt").write_bytes("a.jpg 0\nb.jpg 0\ncafé.jpg 1\n".encode("latin-1"))
    with pytest.raises(UserError, match=r"scan_train\.txt:3: not UTF-8"):
        ListFile(tmp_path, CLASSES).load("scan", "train")
    (tmp_path / "scan_train.txt").write_bytes(b"\xef\xbb\xbfa.jpg 0\n")
    assert [path.name for path in ListFile(tmp_path, CLASSES).load("scan", "train").paths] == ["a.jpg"]


def test_splits_of_a_table(tmp_path: Path) -> None:
    rows = "".join(
        f"{name}.jpg,ant,{part}\n" for name, part in zip("abcd", ("Train", "val", "Test", "val"), strict=True)
    )
    (tmp_path / "scan.csv").write_text(f"image,label,split\n{rows}")
    adapter = CsvTable(tmp_path, CLASSES, split="split")
    assert [path.stem for path in adapter.load("scan", "train").paths] == ["a", "b", "d"]
    assert [path.stem for path in adapter.load("scan", "test").paths] == ["c"]
    (tmp_path / "scan.csv").write_text("image,label,split\na.jpg,ant,train\nb.jpg,ant,tset\n")
    with pytest.raises(UserError, match=r"scan\.csv:3: unknown split 'tset' \(did you mean 'test'\?\)"):
        adapter.load("scan", "train")


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["train", "test"], {"train": ["train"], "test": ["test"]}),
        (["train", "val"], {"train": ["train"], "test": ["val"]}),
        (["test", "train", "valid"], {"train": ["train", "valid"], "test": ["test"]}),
        (["Training", "Testing", "masks"], {"train": ["Training"], "test": ["Testing"]}),
        (["train", "car", "bus"], None),  # a class of vehicles
        (["test", "val"], None),
        ([], None),
    ],
)
def test_usual_names_of_splits(names: list[str], expected: object) -> None:
    assert usual_splits(names) == expected


def test_names_that_are_no_text_have_a_split() -> None:
    assert in_split(os.fsdecode(b"caf\xe9.jpg"), "train", "hash") != in_split(
        os.fsdecode(b"caf\xe9.jpg"), "test", "hash"
    )
