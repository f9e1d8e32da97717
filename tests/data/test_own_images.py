"""Images that belong to no data set."""

import warnings
from pathlib import Path

import pytest
from PIL import Image

from uan_da.data.own_images import images_at, images_in, target_folder
from uan_da.errors import DataWarning, UserError

CLASSES = ("ant", "bee", "cat")


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4)).save(path)
    return folder


def names(folder: Path) -> dict[str, int]:
    images = target_folder(folder, CLASSES)
    found = (path.relative_to(folder).as_posix() for path in images.paths)
    return dict(zip(found, images.labels, strict=True))


def test_a_flat_folder_has_no_labels(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a.jpg", ".hidden/c.jpg")
    (tmp_path / "notes.txt").touch()
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == {"a.jpg": -1, "b.png": -1}


def test_folders_named_like_classes_are_labels(tmp_path: Path) -> None:
    make(tmp_path, "bee/1.jpg", "ant/2.jpg", "ant/deep/3.jpg", "4.jpg")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert names(tmp_path) == {"4.jpg": -1, "ant/2.jpg": 0, "ant/deep/3.jpg": 0, "bee/1.jpg": 1}


def test_folders_that_are_no_classes_are_unlabelled_with_a_warning(tmp_path: Path) -> None:
    make(tmp_path, "monday/1.jpg", "tuesday/2.jpg")
    with pytest.warns(
        DataWarning, match=r"none of its folders \(monday, tuesday\) is a class of the run \(ant, bee, cat\)"
    ):
        assert names(tmp_path) == {"monday/1.jpg": -1, "tuesday/2.jpg": -1}


def test_some_classes_and_some_not_is_a_mistake(tmp_path: Path) -> None:
    make(tmp_path, "ant/1.jpg", "beee/2.jpg")
    with pytest.raises(UserError, match=r"beee: unknown class 'beee' \(did you mean 'bee'\?\)"):
        target_folder(tmp_path, CLASSES)


def test_files_and_folders_in_their_order(tmp_path: Path) -> None:
    make(tmp_path, "z/2.jpg", "z/1.jpg", "a.jpg", "unusual.img.png")
    (tmp_path / "unusual.img.png").rename(tmp_path / "unusual.img")
    images = images_at([tmp_path / "z", tmp_path / "unusual.img", tmp_path / "a.jpg"])
    assert [path.name for path in images.paths] == ["1.jpg", "2.jpg", "unusual.img", "a.jpg"]
    assert images.labels == [-1] * 4
    assert images[2][0].size == (4, 4)


@pytest.mark.parametrize(
    ("name", "message"), [("nothing", "no such folder"), ("empty", "holds no images"), ("a.jpg", "is not a folder")]
)
def test_folders_that_cannot_be_used(tmp_path: Path, name: str, message: str) -> None:
    make(tmp_path, "a.jpg")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=f"{name}: {message}"):
        images_in(tmp_path / name)


def test_a_path_that_does_not_exist(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nothing\.jpg: no such file or folder"):
        images_at([tmp_path / "nothing.jpg"])
