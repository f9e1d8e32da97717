"""Every shipped recipe and each method that it has a word on, on a few images in the files of the real data sets."""

import json
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import torch
from torchvision import models

from uan_da.cli.app import main
from uan_da.data.open_dataset import open_dataset
from uan_da.evaluation.evaluate import predictions_on_test
from uan_da.folders import shipped
from uan_da.models.classifier import build_model
from uan_da.models.resnext29 import resnext29
from uan_da.models.wrn_28_10 import wrn_28_10
from uan_da.norms import UAN2d
from uan_da.recipe import Recipe, find_recipe, load_recipe
from uan_da.recipe.overrides import methods_of
from uan_da.recipe.source import read_yaml
from uan_da.streams.cells import stream_methods
from uan_da.streams.values import settings_of
from uan_da.sweeps.grid import split_values
from uan_da.training.run import Run
from uan_da.training.trained import Trained
from uan_da.training.training import Training

CPU = torch.device("cpu")
SIDE = 32
CLASSES = [f"class {number}" for number in range(100)]
RECIPES = sorted(shipped("recipes"))
TRAINED = [name for name in RECIPES if name != "imagenet-c"]
"""The data set of the other has no training images."""
METHODS = [(name, method) for name in RECIPES for method in methods_of(read_yaml(find_recipe(name)))]
LIKE_OFFICE_HOME = ("office-home-vit", "domainnet")
"""Their methods have the keys of ``office-home`` with other numbers."""
GUIDE = Path(__file__).parents[2] / "docs" / "recipes.md"
HEADS = [line.partition("  ")[0] for name in RECIPES for line in shipped("recipes")[name].read_text().splitlines()]
COMMANDS = list(
    dict.fromkeys(
        [line.removeprefix("# uan-da ") for line in HEADS if line.startswith("# uan-da ")]
        + re.findall(r"`uan-da ((?:train|compare) [^`]+)`", GUIDE.read_text())
    )
)


@pytest.fixture
def uan_da(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The command in this process; what it printed."""

    def run(*arguments: object) -> str:
        monkeypatch.setattr(sys, "argv", ["uan-da", *map(str, arguments)])
        with pytest.raises(SystemExit) as end:
            main()
        assert not end.value.code, capsys.readouterr().err
        return capsys.readouterr().out

    return run


@pytest.fixture
def dataset(tmp_path: Path, data_root: Path, request: pytest.FixtureRequest) -> Callable[[str], list[str]]:
    """What a recipe's data set is replaced by: one with fewer rendered digits, which take longest to make."""

    def changes(name: str) -> list[str]:
        if name == "photos":
            return ["dataset=office31", "task=amazon:webcam"]
        if name in ("cifar10-c", "cifar100-c"):
            return ["input.size=8"]  # their networks are large
        if name == "office-home-clip":
            return request.getfixturevalue("small_clip")
        if name == "office-home-vit":
            return ["backbone={name: small_cnn, width: 4}"]  # a ViT takes images of one size
        if name == "domainnet":
            return ["backbone={name: resnet18, weights: none}"]  # it has 690 test images
        if name not in ("digits-five", "digits-sources", "optdigits-street"):
            return []
        card = "digits_five" if name == "digits-five" else "digits"
        text = shipped("datasets")[card].read_text()
        few = re.sub(r"train: \d{4,}, test: \d{4,}", "train: 20, test: 10", text)
        assert few != text
        path = tmp_path / "few.yaml"
        path.write_text(few if card == "digits" else f"folder: {data_root / card}\n{few}")
        return [f"dataset={path}"]

    return changes


def short(recipe: Recipe) -> list[str]:
    """What makes a recipe one of two steps of a few small images, without published weights."""
    changes = ["train.epochs=null", "train.steps=2", "train.steps_per_epoch=1"]
    changes += ["train.batch.source=4", "train.batch.target=6"]
    if recipe.input.size > SIDE:
        changes += [f"input.size={SIDE + 8}", f"input.crop={SIDE}"] if recipe.input.crop else [f"input.size={SIDE}"]
        for view in ("weak", "strong"):
            blocks = [block.to_dict() for block in getattr(recipe.augment, view)]
            smaller = [block | ({"size": SIDE} if block.get("size") else {}) for block in blocks]
            changes.append(f"augment.{view}={json.dumps(smaller)}")
    if recipe.backbone.weights != "none":
        changes.append("backbone.weights=none")
    if recipe.selection.holdout:
        changes.append("selection.holdout=0")  # of one or two images of a class there is no tenth
    if recipe.norm.name == "uan_paper":
        changes.append("norm.backend=reference")  # each number of clusters has kernels of its own, seconds to compile
    if recipe.method.pretrain_epochs:
        changes.append("method.pretrain_epochs=1")
    return changes


def training_of(name: str, *overrides: str) -> Training:
    recipe = load_recipe(name, [*short(load_recipe(name, overrides)), *overrides])
    return Training.build(recipe, CPU)


@pytest.mark.parametrize("name", TRAINED)
def test_it_is_checked_and_trains(name: str, uan_da: Callable[..., str], dataset: Callable[[str], list[str]]) -> None:
    path = shipped("recipes")[name]
    assert uan_da("recipe", "check", path) == f"{path}: ok\n"
    if name in ("office31-timm", "fashion-pretrained"):
        pytest.importorskip("timm")
    training = training_of(name, *dataset(name))
    while training.step < training.total_steps:
        training.advance()
    assert training.step == 2
    predictions = predictions_on_test(training.evaluated, training.task, training.recipe.evaluation)
    assert all(len(prediction.labels) >= len(training.task.classes) for prediction in predictions.values())
    assert tuple(predictions) == training.recipe.task.domains


@pytest.mark.parametrize(("name", "method"), METHODS)
def test_each_of_its_methods_trains(name: str, method: str, dataset: Callable[[str], list[str]]) -> None:
    if method == "zero_shot" and name != "office-home-clip":
        ours, theirs = (read_yaml(find_recipe(recipe)).data["per_method"] for recipe in (name, "office-home"))
        assert ours["zero_shot"] == theirs["zero_shot"]
        recipes = load_recipe(name, ["method=zero_shot"]), load_recipe("office-home-clip")
        assert recipes[0].backbone.to_dict() == recipes[1].backbone.to_dict()
        return
    if name in LIKE_OFFICE_HOME:
        ours, theirs = (load_recipe(recipe, [f"method={method}"]) for recipe in (name, "office-home"))
        assert ours.method.options.keys() == theirs.method.options.keys()
        assert (ours.bottleneck is None) is (theirs.bottleneck is None)
        assert (ours.train.schedule.name, ours.head.dropouts) == (theirs.train.schedule.name, theirs.head.dropouts)
        return
    large = load_recipe(name).backbone.name.startswith("resnet")
    training = training_of(name, f"method={method}", *dataset(name), *(["backbone=small_cnn"] if large else []))
    before = {name: p.detach().clone() for name, p in training.model.named_parameters()}
    while training.step < training.total_steps:
        training.advance()
    assert training.step == 2 + training.pretrain_steps
    after = dict(training.model.named_parameters())
    moved = any(not torch.equal(old, after[name]) for name, old in before.items())
    assert moved is (method not in ("zero_shot", "dapl"))  # they leave CLIP as it is


@pytest.mark.parametrize("command", COMMANDS)
def test_the_commands_of_heads_and_guide_are_understood(
    command: str, uan_da: Callable[..., str], dataset: Callable[[str], list[str]], tmp_path: Path
) -> None:
    verb, name, *arguments = shlex.split(command)
    if verb == "compare":
        said = uan_da(verb, name, *arguments, *dataset(name), "--dry-run", "--out", tmp_path / "out")
        assert said.splitlines()[-1].endswith(" left")
    elif verb == "stream":
        given = dict(zip(arguments[::2], arguments[1::2], strict=True))
        assert set(given["--domain"].split(",")) <= set(open_dataset(load_recipe(name).dataset).domains)
        assert settings_of(given["--setting"])
        assert stream_methods(given["--method"].split(","))
    else:
        assert verb == "train"
        load_recipe(name, arguments)


@pytest.mark.parametrize("name", ["cifar10-norms", "cifar100-norms"])
def test_the_table_of_norms_changes_the_second_norm_alone(name: str) -> None:
    """The name of another norm resets ``norm.where``, so that the command has to say it."""
    found = [line for line in COMMANDS if line.startswith(f"compare {name}") and "re:norm2" in line]
    (command,) = [line for line in found if "--seed" in line]
    norms, where = re.findall(r'--norm "([^"]+)" (\S+)', command)[0]
    for norm in split_values(norms):
        recipe = load_recipe(name, [f"norm={norm}", where])
        layers = dict(build_model(recipe, 10).backbone.named_modules())
        assert type(layers["norm2"]) is not torch.nn.BatchNorm2d or recipe.norm.name == "bn"
        assert {type(layers[f"norm{number}"]) for number in (1, 3, 4)} == {torch.nn.BatchNorm2d}
        assert recipe.norm.options.get("num_clusters", 3) == 3


def test_the_authors_placement_is_one_layer_of_two_clusters_on_the_input() -> None:
    (command,) = [line for line in COMMANDS if line.startswith("train mnist-svhn norm=uan_paper")]
    model = build_model(load_recipe("mnist-svhn", shlex.split(command)[2:]), 10)
    layers = {name: layer for name, layer in model.named_modules() if isinstance(layer, UAN2d)}
    assert {name: layer.num_clusters for name, layer in layers.items()} == {"input_norm": 2}


def test_mnist_svhn_needs_nothing_but_its_files(uan_da: Callable[..., str], tmp_path: Path) -> None:
    uan_da("train", "mnist-svhn", *short(load_recipe("mnist-svhn")), "--out", tmp_path / "run", "--device", "cpu")
    domains = Run.open(tmp_path / "run").results["selections"]["last"]["domains"]
    assert {name: (row["role"], row["n"]) for name, row in domains.items()} == {
        "mnist": ("source", 10),
        "svhn": ("target", 10),
    }


def test_office31_of_lists_is_that_of_folders(data_root: Path, tmp_path: Path) -> None:
    """The card says how to read lists: its commented adapter in place of its own."""
    lines = shipped("datasets")["office31"].read_text().splitlines()
    lists = [line.removeprefix("# ") for line in lines if line.startswith("# adapter:")]
    others = [line for line in lines if not line.startswith(("adapter:", "# adapter:"))]
    (tmp_path / "lists.yaml").write_text("\n".join([f"folder: {data_root / 'office31'}", *lists, *others]))
    folders, listed = (
        training_of("office31", "backbone=small_cnn", *changes) for changes in ([], [f"dataset={tmp_path}/lists.yaml"])
    )
    for training in (folders, listed):
        training.advance()
    for one, two in zip(folders.model.parameters(), listed.model.parameters(), strict=True):
        assert torch.equal(one, two)


def test_office31_starts_from_a_file_in_torchvisions_format_with_either_norm(tmp_path: Path) -> None:
    """The classifier of the file is left out, and UAN in the places of the BatchNorms predicts as they do."""
    torch.manual_seed(0)
    network = models.resnet50(weights=None)
    torch.save(network.state_dict(), tmp_path / "resnet50.pth")
    images = torch.randn(2, 3, SIDE, SIDE)
    network.fc = torch.nn.Identity()
    expected = network.eval()(images)
    for norm in ("bn", "uan"):
        model = training_of("office31", f"norm={norm}", f"backbone.weights={tmp_path / 'resnet50.pth'}").model
        torch.testing.assert_close(model.backbone.eval()(images), expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    ("name", "build", "features", "classes", "head_name"),
    [
        ("cifar100-c", resnext29, 1024, 100, "module.classifier"),  # AugMix's file
        pytest.param("cifar10-c", wrn_28_10, 640, 10, "module.fc", marks=pytest.mark.slow),  # RobustBench's
    ],
)
def test_a_published_network_meets_a_stream(
    uan_da: Callable[..., str],
    tmp_path: Path,
    name: str,
    build: Callable[[int], torch.nn.Module],
    features: int,
    classes: int,
    head_name: str,
) -> None:
    """Files have ``module.`` before their names, and their head predicts."""
    network, head, file = build(3), torch.nn.Linear(features, classes), tmp_path / "published.pt"
    state = {f"module.{key}": value for key, value in network.state_dict().items()}
    state |= {f"{head_name}.weight": head.weight.data, f"{head_name}.bias": head.bias.data}
    torch.save({"state_dict": state}, file)
    out = tmp_path / "out"
    ask = ["stream", name, "--weights", file, "--domain", "fog,snow", "--length", 3, "--jobs", 1]
    uan_da(*ask, "--setting", "mixed", "--batch", 4, "--method", "bn_1,uan", "--out", out, "--device", "cpu")
    table = pd.read_csv(out / "results.csv")
    assert set(table["method"]) == {"source", "bn_1", "uan", "oracle"}
    names = open_dataset(load_recipe(name).dataset).classes
    trained = Trained.published(load_recipe(name, [f"backbone.weights={file}"]), names, CPU)
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        expected = head(network.eval()(images))
    torch.testing.assert_close(trained.model(images).logits, expected, rtol=1e-3, atol=1e-4)
