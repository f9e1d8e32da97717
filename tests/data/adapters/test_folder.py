from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uan_da.data.adapter import MissingData
from uan_da.data.adapters.folder import Folder
from uan_da.errors import UserError

CLASSES = ("ant", "bee")


def test_train_and_test_are_all_images_once(plates: Path) -> None:
    adapter = Folder(plates, CLASSES)
    train, test = adapter.load("scan", "train"), adapter.load("scan", "test")
    assert sorted(train.paths + test.paths) == sorted((plates / "scan").rglob("*.jpg"))
    assert 0.05 < len(test) / 40 < 0.4
    for part in (train, test):
        assert [CLASSES[label] for label in part.labels] == [path.parent.name for path in part.paths]
    image, label = train[0]
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(train.paths[0])))
    assert label == 0


def test_more_images_leave_the_others_in_their_part(plates: Path) -> None:
    before = Folder(plates, CLASSES).load("scan", "test").paths
    for number in range(40):
        Image.new("L", (4, 4)).save(plates / "scan" / "ant" / f"new{number}.png")
    assert set(before) < set(Folder(plates, CLASSES).load("scan", "test").paths)


def test_office31_layout(tmp_path: Path) -> None:
    """The archive's own: ``amazon/images/back_pack/frame_0001.jpg``; all images are both splits."""
    for name in ("back_pack/frame_0001.jpg", "back_pack/frame_0002.jpg", "bike/frame_0001.jpg"):
        path = tmp_path / "amazon" / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (30, 30)).save(path)
    adapter = Folder(tmp_path, ("back_pack", "bike"), layout="{domain}/images/{class}", split="both")
    train, test = adapter.load("amazon", "train"), adapter.load("amazon", "test")
    assert train.labels == test.labels == [0, 0, 1]
    assert [path.name for path in train.paths] == ["frame_0001.jpg", "frame_0002.jpg", "frame_0001.jpg"]


def test_split_folders_and_flat_domains(tmp_path: Path) -> None:
    for name in ("a/train/x/1.png", "a/test/x/2.png", "a/test/x/3.png", "b/4.png", "b/.hidden.png", "b/notes.txt"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(path, format="png")
    split = Folder(tmp_path, ("x",), layout="{domain}/{split}/{class}")
    assert [len(split.load("a", part)) for part in ("train", "test")] == [1, 2]
    flat = Folder(tmp_path, ("x",), layout="{domain}", split="both").load("b", "train")
    assert ([path.name for path in flat.paths], flat.labels) == (["4.png"], [-1])


def test_a_domain_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingData, match="scan"):
        Folder(tmp_path, CLASSES).load("scan", "train")


@pytest.mark.parametrize(
    ("content", "problem"), [(b"hello", "not an image"), (None, "damaged image"), (b"", "an empty")]
)
def test_what_cannot_be_read_is_named(plates: Path, content: bytes | None, problem: str) -> None:
    path = plates / "scan" / "ant" / "000.jpg"
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    files = Folder(plates, CLASSES, split="both").load("scan", "train")
    with pytest.raises(UserError, match=rf"000\.jpg: {problem}"):
        files[0]
