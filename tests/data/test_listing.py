"""Which files of a folder are images, and what is said of the rest."""

import os
from pathlib import Path

import pytest
from PIL import Image

from uan_da.data.check import check_dataset
from uan_da.data.formats import suffixes
from uan_da.data.image_files import open_image
from uan_da.data.listing import list_images
from uan_da.data.open_dataset import open_dataset
from uan_da.data.own_images import images_in
from uan_da.data.task import build_task
from uan_da.errors import DataWarning, UserError
from uan_da.recipe import load_recipe


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (4, 4)).save(folder / name)


def names(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in list_images(folder)]


def test_links_to_images_and_folders_are_followed_once_and_in_no_loop(tmp_path: Path) -> None:
    put(tmp_path, "store/1.jpg", "other/2.jpg", "ant/3.jpg", "ant/deep/4.jpg")
    (tmp_path / "ant" / "link.jpg").symlink_to("../other/2.jpg")
    (tmp_path / "ant" / "more").symlink_to("../store")
    (tmp_path / "ant" / "again").symlink_to("../store")
    (tmp_path / "ant" / "loop").symlink_to(".")
    (tmp_path / "ant" / "deep" / "up").symlink_to("..")
    (tmp_path / "ant" / "gone.jpg").symlink_to("nowhere")
    assert names(tmp_path / "ant") == ["3.jpg", "again/1.jpg", "deep/4.jpg", "link.jpg"]


def test_a_class_folder_may_be_a_link(plates: Path) -> None:
    (plates / "scan" / "ant").rename(plates.parent / "ants")
    (plates / "scan" / "ant").symlink_to(plates.parent / "ants")
    opened = open_dataset(str(plates))
    assert sum(len(opened.load("scan", split)) for split in ("train", "test")) == 40


@pytest.mark.parametrize(
    "suffix", ["jfif", "jpe", "JPG", "tga", "pcx", "jp2", "dib", "pbm", "sgi", "avif", "webp", "mpo"]
)
def test_formats_that_pillow_reads_are_read(tmp_path: Path, suffix: str) -> None:
    if f".{suffix.lower()}" not in suffixes():
        pytest.skip("this Pillow was built without it")
    Image.new("1" if suffix == "pbm" else "RGB", (8, 8), 1).save(tmp_path / f"x.{suffix}")
    (path,) = list_images(tmp_path)
    assert open_image(path).size == (8, 8)


def test_a_folder_that_cannot_be_read_is_no_empty_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "ant/1.jpg", "bee/2.jpg")
    scan = os.scandir

    def denied(folder: Path) -> object:
        if Path(folder).name == "bee":
            raise PermissionError(13, "Permission denied")
        return scan(folder)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(UserError, match=r"bee: cannot be read \(Permission denied\)"):
        list_images(tmp_path)


def spoil(plates: Path) -> None:
    put(plates, "scan/beside.jpg", "loose.png", "scan/.hidden.png")
    for name in ("notes.txt", "scan/ant/Thumbs.db", "photo/bee/new.heif", "scan/ant/noname"):
        (plates / name).touch()
    (plates / "photo" / "ant" / "gone.jpg").symlink_to("nowhere")
    (plates / "photo" / "ant" / "loop").symlink_to(".")


def test_check_counts_every_file_that_is_not_used(plates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(plates)
    monkeypatch.setattr("uan_da.data.unused.suffixes", lambda: frozenset((".jpg", ".png")))
    report = check_dataset(open_dataset(str(plates)))
    found = {(finding.severity, finding.message.replace(f"{plates}/", "")) for finding in report.findings}
    assert found == {
        (
            "warning",
            "2 file(s) not used: images beside the folders or images that are used: loose.png, scan/beside.jpg",
        ),
        ("warning", "1 file(s) not used: .heif is read after: pip install pillow-heif: photo/bee/new.heif"),
        ("warning", "1 file(s) not used: a broken link: photo/ant/gone.jpg"),
        ("warning", "1 file(s) not used: a link to a folder that is read already: photo/ant/loop"),
        ("note", "1 file(s) not used: hidden: scan/.hidden.png"),
        ("note", "1 file(s) not used: no image (.db): scan/ant/Thumbs.db"),
        ("note", "1 file(s) not used: no image (.txt): notes.txt"),
        ("note", "1 file(s) not used: no image (without a suffix): scan/ant/noname"),
    }
    assert sum(len(images) for images in report.images.values()) == 80


def test_a_folder_on_no_list_of_the_card(plates: Path) -> None:
    card = plates.with_name("mine.yaml")
    card.write_text("adapter: folder\nclasses: [ant]\nfolder: plates\ndomains: {scan: {}, photo: {}}\n")
    (finding,) = check_dataset(open_dataset(str(card))).findings
    assert finding.severity == "warning"
    assert finding.message.startswith("40 file(s) not used: in no folder, and on no list, of the data set's domains: ")


def test_a_training_says_which_images_it_leaves_out(plates: Path) -> None:
    import torch

    spoil(plates)
    put(plates, "other/ant/1.jpg", "other/2.jpg")  # no domain of the task
    changes = [f"dataset={plates}", "task=scan:photo", "train.batch.source=4"]
    with pytest.warns(DataWarning) as warned:
        build_task(load_recipe("digits", changes), torch.device("cpu"))
    texts = [str(warning.message) for warning in warned]
    assert any(text.startswith("2 file(s) not used: images beside the folders") for text in texts)
    assert not any("hidden" in text or "other" in text or ".txt" in text for text in texts)
    assert all(text.endswith(f"uan-da datasets check {plates}") for text in texts)


def test_images_to_predict_that_need_a_plugin_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "a.jpg")
    for name in ("b.heif", "c.HEIF"):
        (tmp_path / name).touch()
    monkeypatch.setattr("uan_da.data.own_images.suffixes", lambda: frozenset((".jpg",)))
    with pytest.warns(DataWarning, match=r"2 file\(s\) left out: \.heif is read after: pip install pillow-heif"):
        assert [path.name for path in images_in(tmp_path)] == ["a.jpg"]
