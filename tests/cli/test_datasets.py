"""``uan-da datasets``, in this process: what is printed, written, and the exit code."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uan_da: Any) -> Run:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UAN_DA_DATA", str(tmp_path / "root"))
    monkeypatch.setenv("UAN_DA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str) -> tuple[int, str, str]:
        done = uan_da(*arguments)
        return done.returncode, done.stdout, done.stderr

    return call


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for domain in ("scan", "photo"):
        for label, name in enumerate(("ant", "bee")):
            (tmp_path / "plates" / domain / name).mkdir(parents=True)
            for number in range(15):
                pixels = random.integers(0, 100, (10, 10, 3), dtype=np.uint8) + np.uint8(100 * label)
                Image.fromarray(pixels).save(tmp_path / "plates" / domain / name / f"{number}.jpg")
    return tmp_path / "plates"


def test_show_a_card_without_its_data(run: Run, tmp_path: Path) -> None:
    code, out, _ = run("datasets", "show", "office31")
    assert code == 0
    for text in ("31 classes: back_pack, bike", "2817", "ECCV 2010", "Google Drive", f"{tmp_path}/root/office31"):
        assert text in out


def test_show_what_is_here(run: Run, plates: Path) -> None:
    code, out, _ = run("datasets", "show", "digits")
    assert (code, "made here" in out, "539" in out, "CC BY 4.0" in out) == (0, True, True, True)
    code, out, _ = run("datasets", "show", "./plates")
    assert (code, "found at: plates" in out) == (0, True)


def test_data_root_comes_before_the_environment(run: Run, tmp_path: Path) -> None:
    _, out, _ = run("datasets", "show", "office31", "--data-root", "elsewhere")
    assert f"{tmp_path}/elsewhere/office31" in out


def test_init_then_show_check_and_train(run: Run, plates: Path) -> None:
    assert run("datasets", "init", "plates")[0] == 0
    assert run("datasets", "check", "./plates.yaml")[0] == 0
    code, _, err = run("datasets", "init", "plates")
    assert (code, "--overwrite" in err) == (2, True)
    code, out, _ = run(
        "train", "digits", "dataset=./plates.yaml", "task=scan:photo", "norm=bn", "method=source_only",
        "train.epochs=1", "train.steps_per_epoch=2", "--out", "out", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    assert "2 classes" in out


def spoil(plates: Path) -> None:
    """What the issue lists: truncated, no image, a class that the target lacks, CMYK, 16 bit."""
    scan = plates / "scan"
    content = (scan / "ant" / "1.jpg").read_bytes()
    (scan / "ant" / "1.jpg").write_bytes(content[: len(content) // 2])
    (scan / "ant" / "2.jpg").write_text("a letter")
    Image.new("CMYK", (10, 10)).save(scan / "bee" / "3.jpg")
    Image.fromarray(np.full((10, 10), 999, dtype=np.uint16)).save(scan / "bee" / "4.png")
    (scan / "cat").mkdir()
    for number in range(15):
        Image.new("RGB", (10, 10), (number, 9, 9)).save(scan / "cat" / f"{number}.png")


def test_check_reports_everything_and_train_one_clear_error(run: Run, plates: Path) -> None:
    spoil(plates)
    code, out, _ = run("datasets", "check", "./plates", "--task", "scan:photo")
    assert code == 2
    for text in (
        "defect: scan: plates/scan/ant/1.jpg: damaged image",
        "defect: scan: plates/scan/ant/2.jpg: not an image",
        "warning: photo: no training image of the class 'cat'",
        "1 image(s) of mode CMYK among RGB, converted: plates/scan/bee/3.jpg",
        "1 image(s) of mode I;16 among RGB, converted: plates/scan/bee/4.png",
        "2 defect(s), 3 warning(s)",
    ):
        assert text in out
    code, out, err = run("train", "digits", "dataset=./plates", "task=scan:photo", "--out", "out", "--device", "cpu")
    assert code == 2
    assert len(err.splitlines()) == 2
    assert err.startswith("plates/scan/ant/")
    assert "uan-da datasets check ./plates" in err
    assert not Path("out").exists()


def test_a_class_that_the_target_lacks_is_a_warning_in_training(run: Run, plates: Path) -> None:
    for path in (plates / "photo" / "bee").iterdir():
        path.unlink()
    (plates / "photo" / "bee").rmdir()
    code, _, err = run(
        "train", "digits", "dataset=./plates", "task=scan:photo", "norm=bn", "train.epochs=1",
        "train.steps_per_epoch=1", "--out", "out", "--device", "cpu",
    )  # fmt: skip
    assert code == 0
    assert "warning: the target has no image of the class 'bee'" in err


@pytest.mark.parametrize("task", ["scan:", "phto", "scan:phto"])
def test_a_task_that_does_not_exist(run: Run, plates: Path, task: str) -> None:
    code, _, err = run("datasets", "check", "./plates", "--task", task)
    assert code == 2
    assert err.startswith("error: --task: ")


def test_preview(run: Run, plates: Path) -> None:
    code, out, _ = run("datasets", "preview", "./plates", "--domain", "scan", "--out", "pictures")
    assert code == 0
    assert [Path(line).name for line in out.split()] == ["scan.png", "scan-weak.png", "scan-strong.png"]
    assert all(Path(line).is_file() for line in out.split())


def test_fetch_without_a_download(run: Run, plates: Path) -> None:
    code, _, err = run("datasets", "fetch", "office31")
    assert (code, "no automatic download" in err) == (2, True)
    code, _, err = run("datasets", "fetch", "nothing")
    assert (code, "unknown dataset 'nothing'" in err) == (2, True)


def test_bench_data_prints_all_measurements(run: Run) -> None:
    code, out, _ = run(
        "bench", "data", "--images", "512", "--batch", "64", "--photos", "2", "--rounds", "1", "--threads", "1"
    )
    assert code == 0
    assert "32×32 crop + RandAugment" in out
    assert "300×300 JPEG files" in out
    assert "12-megapixel photos, checked" in out
    assert "12-megapixel photos, decoded" in out
