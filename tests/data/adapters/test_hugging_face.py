"""Against a stand-in with the interface of ``datasets.Dataset``; with the package itself where it is installed."""

import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uan_da.data.adapters.hugging_face import HuggingFace, Rows
from uan_da.errors import UserError

INSTALLED = (found := importlib.util.find_spec("datasets")) is not None and found.origin is not None


class Table:
    """Rows by number, columns by name."""

    def __init__(self, **columns: list[Any]) -> None:
        self.columns = columns
        self.column_names = list(columns)

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, key: int | str) -> Any:
        return self.columns[key] if isinstance(key, str) else {name: c[key] for name, c in self.columns.items()}


def png(value: int) -> bytes:
    stream = io.BytesIO()
    Image.new("L", (2, 2), value).save(stream, "png")
    return stream.getvalue()


def test_rows_decoded_or_not() -> None:
    rows = Rows(Table(image=[Image.new("L", (2, 2), 7), {"bytes": png(9), "path": None}], label=[1, None]))
    assert [(np.asarray(rows[i][0])[0, 0], rows[i][1]) for i in range(len(rows))] == [(7, 1), (9, -1)]
    assert Rows(Table(img=[1, 2]), image="img", label=None).labels == [-1, -1]


def test_columns_that_are_not_there() -> None:
    with pytest.raises(UserError, match=r"unknown column 'label' .did you mean 'labels'"):
        Rows(Table(image=[], labels=[]))


@pytest.mark.skipif(INSTALLED, reason="the package is installed")
def test_without_the_package(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"pip install 'uan-da\[hf\]'"):
        HuggingFace(tmp_path, (), dataset="imagefolder").load("a", "train")


@pytest.mark.skipif(not INSTALLED, reason="needs the extra hf")
def test_the_package_reads_a_folder(plates: Path) -> None:
    adapter = HuggingFace(plates, ("ant", "bee"), dataset="imagefolder", data_dir="{folder}/{domain}", test="train[:4]")
    found = adapter.load("scan", "train")
    assert len(found) == 40
    assert sorted(set(found.labels)) == [0, 1]
    assert found[0][0].size == (12, 12)
    assert len(adapter.load("scan", "test")) == 4
