from pathlib import Path

import pytest
from PIL import Image

from uan_da.data.adapter import MissingData
from uan_da.data.adapters.list_file import ListFile
from uan_da.errors import UserError

CLASSES = ("ant", "bee", "cat")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def test_domainnets_lists(tmp_path: Path) -> None:
    """As DomainNet ships them: ``clipart_train.txt`` with ``clipart/ant/clipart_001.jpg 0`` a line."""
    write(tmp_path / "clipart_train.txt", "clipart/ant/clipart_001.jpg 0\nclipart/cat/clipart_002.jpg 2\n")
    write(tmp_path / "clipart_test.txt", "clipart/ant/clipart_003.jpg 0\n\n")
    Image.new("RGB", (5, 5), (9, 9, 9)).save(tmp_path / "x.png")
    adapter = ListFile(tmp_path, CLASSES)
    train = adapter.load("clipart", "train")
    assert train.paths == [tmp_path / "clipart/ant/clipart_001.jpg", tmp_path / "clipart/cat/clipart_002.jpg"]
    assert train.labels == [0, 2]
    assert len(adapter.load("clipart", "test")) == 1


def test_tllibs_lists(tmp_path: Path) -> None:
    """As TLLib ships Office-31: ``image_list/amazon.txt``, one for both splits; a name may hold spaces."""
    write(tmp_path / "image_list/amazon.txt", "Real World/a b 1.jpg 1\namazon/c.jpg 0\nno label.jpg\n")
    adapter = ListFile(tmp_path, CLASSES, file="image_list/{domain}.txt", split="both", images="pictures")
    for split in ("train", "test"):
        found = adapter.load("amazon", split)  # type: ignore[arg-type]
        assert found.labels == [1, 0, -1]
        assert found.paths[0] == tmp_path / "pictures/Real World/a b 1.jpg"
        assert found.paths[2].name == "no label.jpg"


def test_a_hash_splits_a_list_that_has_no_parts(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", "".join(f"{i}.jpg 0\n" for i in range(200)))
    adapter = ListFile(tmp_path, CLASSES, file="{domain}.txt")
    train, test = adapter.load("a", "train"), adapter.load("a", "test")
    assert len(train) + len(test) == 200
    assert 20 <= len(test) <= 60


def test_mistakes(tmp_path: Path) -> None:
    write(tmp_path / "a_train.txt", "x.jpg 1\ny.jpg 3\n")
    with pytest.raises(UserError, match=r"a_train\.txt:2: label 3 is not one of the 3 classes"):
        ListFile(tmp_path, CLASSES).load("a", "train")
    with pytest.raises(MissingData, match=r"b_train\.txt"):
        ListFile(tmp_path, CLASSES).load("b", "train")
