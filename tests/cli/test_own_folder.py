"""A user's own folder, from the first command to the report; nothing in it is as tidy as a benchmark."""

import csv
import runpy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from uan_da.data.image_files import open_image

WRITE: Callable[..., Path] = runpy.run_path(str(Path(__file__).with_name("own_folder.py")))["write"]
CLASSES = {":phone:", "chair [oak]", "red mug", "猫"}
TINY = [
    "backbone=small_cnn",
    "bottleneck=null",
    "input.size=36",
    "input.crop=32",
    "augment.weak=[{name: resized_crop, size: 32}, {name: flip}]",
    "augment.strong=[{name: resized_crop, size: 32}]",
    "train.steps=4",
    "train.steps_per_epoch=2",
    "train.batch.source=8",
    "train.batch.target=8",
]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UAN_DA_CACHE", str(tmp_path / "decoded"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    return WRITE(tmp_path / "My Shop", images=6, side=66)


def test_images_that_lie_on_their_side_are_set_upright(shop: Path) -> None:
    lying = shop / "studio" / "img_0_0.jpg"
    assert Image.open(lying).size == (66, 88)
    assert open_image(lying).size == (88, 66)


def test_from_the_folder_to_the_report(uan_da: Callable[..., Any], shop: Path) -> None:
    def run(*arguments: object) -> str:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a missing glyph, for one
            done = uan_da(*arguments, cwd=shop.parent)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return str(done.stdout)

    run("start", "My Shop", *TINY)
    assert "0 defect(s)" in run("datasets", "check", "./My Shop.yaml", "--task", "studio:phone photos")

    said = run("train", "My Shop-recipe.yaml", "--out", "one", "--device", "cpu", "--with-baseline")
    assert "My Shop.yaml studio→phone photos" in said
    page = (shop.parent / "one" / "report.html").read_text(encoding="utf-8")
    assert all(name in page for name in ("猫", "chair [oak]", ":phone:"))

    assert "studio: labels against predictions" in page
    assert "phone photos: labels against predictions" not in page  # it has none

    run("predict", "one", "My Shop/phone photos", "--out", "predictions.csv")
    rows = list(csv.DictReader((shop.parent / "predictions.csv").open(encoding="utf-8")))
    assert len(rows) == 24
    assert {row["class"] for row in rows} <= CLASSES

    said = run("compare", "My Shop-recipe.yaml", "--method", "mcc", "--out", "both", "--device", "cpu", "norm=bn")
    assert "no target labels: ranked by information_maximization" in said
    assert "gain over source_only" not in said
    page = (shop.parent / "both" / "report.html").read_text(encoding="utf-8")
    assert "no target labels: ranked by information_maximization" in page

    assert "of 24 images get another class" in run("label-first", "both")
    listed = list(csv.DictReader((shop.parent / "both" / "label_first.csv").open(encoding="utf-8-sig")))
    assert len(listed) == 24
    with (shop.parent / "few.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, listed[0].keys())
        table.writeheader()
        table.writerows([row | {"label": "猫"} for row in listed[:3]])
    said = run("label-first", "both", "--labels", "few.csv")
    assert "on 3 labelled images of the target" in said
    assert "mcc bn seed 0" in said
