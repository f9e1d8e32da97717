"""What is meant by what was written, and what can be asked for."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import uan_da as package
from uan_da.data.digits import Digits
from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.recipe.keys import full_key
from uan_da.recipe.task_name import parse_task
from uan_da.training.adapt import source_free_method


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["recipe", "check", "digits", "epochs=1"], "unknown key 'epochs' (did you mean 'train.epochs'?)"),
        (["recipe", "check", "digits", "lr=0.1"], "unknown key 'lr' (did you mean 'train.optimizer.lr'?)"),
        (["recipe", "check", "digits", "validator=snd"], "(did you mean 'selection.validator'?)"),
        (["recipe", "check", "digits", "norm={name:uan}"], "a space is missing, {name: uan}"),
        (["train", "digits", "--epochs", "3"], "keys of a recipe are given without dashes: train.epochs=VALUE"),
        (["train", "digits", "--lr=0.1"], "keys of a recipe are given without dashes: train.optimizer.lr=VALUE"),
        (["train", "digits", "--norm", "uan"], "keys of a recipe are given without dashes: norm=VALUE"),
        (["train", "digits", "--train.epochs=3"], "keys of a recipe are given without dashes: train.epochs=VALUE"),
        (["compare", "digits", "--seed", "0-2", "--dry-run"], "'0-2': a range is written 0..2"),
        (["train"], "which recipe? uan-da list recipes"),
        (
            ["train", "photos.d"],
            "recipe 'photos.d': is a folder. For one of images, `uan-da start photos.d` writes a recipe",
        ),
        (
            ["train", "card.yaml"],
            "card.yaml: is a card, which describes images; a recipe names it by its key 'dataset'",
        ),
        (["datasets", "check", "./recipe.yaml"], "recipe.yaml: is a recipe; the card that describes its images"),
        (["list", "methods", "dan_n"], "did you mean 'dann'?"),
        (["list", "recipes", "digits"], "uan-da recipe show digits"),
        (["list", "norm"], "Invalid value for 'kind': 'norm' is not one of"),
        (["evaluate", ".", "--split", "val"], "Invalid value for '--split': 'val' is not one of 'test', 'train'"),
        (["train", "digits", "norm.em_rate=2"], "norm 'uan': Expected `em_rate` to be between 0 and 1, but got 2.0\n"),
        (["train", "digits", "norm.num_clusters=0"], "`num_clusters` to be an integer of at least 1, but got 0\n"),
    ],
)
def test_a_hint(uan_da: Callable[..., Any], tmp_path: Path, arguments: list[str], hint: str) -> None:
    (tmp_path / "photos.d").mkdir()
    (tmp_path / "card.yaml").write_text("domains: {a: {}}\nclasses: [x, y]\n")
    (tmp_path / "recipe.yaml").write_text("dataset: ./card.yaml\n")
    done = uan_da(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert hint in done.stderr


@pytest.mark.parametrize(
    "arguments", [["compare", "digits", "--norm", "bn", "--jobs", "0"], ["predict", "run", "images", "--batch", "8"]]
)
def test_no_hint_at_keys_where_an_option_is_right_or_there_are_no_keys(
    uan_da: Callable[..., Any], tmp_path: Path, arguments: list[str]
) -> None:
    done = uan_da(*arguments, cwd=tmp_path)
    assert done.returncode == 2
    assert "keys of a recipe" not in done.stderr


def test_whole_keys_of_the_recipe() -> None:
    assert [full_key(last) for last in ("steps", "holdout", "features", "seed", "nonsense")] == [
        "train.steps", "selection.holdout", "bottleneck.features", None, None,
    ]  # fmt: skip
    for key in ("train.optimizer.lr=1e-3", "norm.num_clusters=2", "backbone.weights=none"):
        load_recipe("digits", [key])


def test_adapt_names_the_methods_that_can_adapt() -> None:
    with pytest.raises(UserError, match=r"'foo' \(available: aad, adabn, lame, nrc, plue, shot, tent, uan\)"):
        source_free_method("foo")


def test_an_arrow_of_ascii() -> None:
    assert parse_task("a+b->c") == parse_task("a+b:c") == parse_task("a+b→c")


@pytest.mark.parametrize(
    ("kind", "name", "option"),
    [
        ("augmentations", "crop", "padding: int, default 4"),
        ("optimizers", "sgd", "momentum: float, default 0.9"),
        ("schedules", "cosine", "final: float, default 0.0"),
        ("adapters", "folder", "options of folder:"),
        ("methods", "dann", "trade_off: float, default 1.0"),
        ("norms", "uan", "``num_clusters`` is by default 8"),
        ("validators", "mano", "order: float, default 4.0"),
        ("backbones", "small_cnn", "width: int, default"),
    ],
)
def test_the_options_of_a_name(uan_da: Callable[..., Any], kind: str, name: str, option: str) -> None:
    assert name in uan_da("list", kind).stdout
    described = uan_da("list", kind, name).stdout
    assert option in described


def test_a_dry_run_counts_without_data(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    arguments = ["--method", "dann", "--norm", "bn,uan", "--seed", "0..2", "--dry-run", "--data-root", tmp_path]
    done = uan_da("compare", "office31", *arguments, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("12 runs; which of them are done is unknown")


def test_the_package_says_what_it_has() -> None:
    assert package.__version__ == uan_da_version()
    assert {"train", "compare", "Run", "load_recipe", "__version__"} <= set(dir(package))


def uan_da_version() -> str:
    done = subprocess.run([sys.executable, "-m", "uan_da", "--version"], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_train_takes_a_recipe_by_name_and_tries_its_validator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UserError, match="unknown recipe 'digit'"):
        package.train("digit", out=tmp_path / "run")
    (tmp_path / "their_scores.py").write_text(
        "def other(predictions): return 1.0\ndef nothing(target): return None\ndef fails(target): return target.x\n"
    )
    monkeypatch.chdir(tmp_path)
    for name in ("other", "nothing", "fails"):
        recipe = load_recipe("digits", [f"selection.validator=their_scores:{name}"])
        monkeypatch.setattr(Digits, "load", None)  # it is refused before any data are opened
        with pytest.raises(UserError, match=f"their_scores:{name}|validator 'other'"):
            package.train(recipe, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()
