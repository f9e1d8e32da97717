"""Target labels are read by the evaluator, and by nothing that decides anything."""

import dataclasses
from pathlib import Path

import pytest
import torch

from uan_da.data import task as task_module
from uan_da.data.images import Images
from uan_da.data.task import Domain
from uan_da.names import VALIDATORS
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.run import Run
from uan_da.training.train import train

SHORT = [
    "backbone.width=4",
    "norm=bn",
    "train.epochs=3",
    "train.steps_per_epoch=2",
    "train.batch.source=8",
    "train.batch.target=8",
]


def trained(folder: Path, *overrides: str) -> Run:
    return train(load_recipe("digits", [*SHORT, *overrides]), folder)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("plain") / "run")


def garbage(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on every label of the target is the one before its own."""
    make = task_module._domain

    def shifted(*args: object) -> Domain:
        domain = make(*args)  # type: ignore[arg-type]
        if domain.role == "source":
            return domain
        parts = {}
        for name in ("train", "test"):
            images = getattr(domain, name)
            assert isinstance(images, Images)
            parts[name] = Images(images.pixels, (images.labels + 1) % 10)
        return dataclasses.replace(domain, **parts)

    monkeypatch.setattr(task_module, "_domain", shifted)


def decisions(run: Run, name: str) -> tuple[int, dict[str, torch.Tensor]]:
    state = run.load(name, torch.device("cpu"))
    return state["step"], {**state["model"], **state["method"]}


@pytest.mark.parametrize("overrides", [[], ["method=dann", "selection.holdout=0.2", "selection.validator=mixval"]])
def test_garbage_target_labels_change_no_decision(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, plain: Run, overrides: list[str]
) -> None:
    true = trained(tmp_path / "true", *overrides) if overrides else plain
    garbage(monkeypatch)
    false = trained(tmp_path / "false", *overrides)
    for name in ("last", "selected"):
        (step, weights), (other_step, other) = decisions(true, name), decisions(false, name)
        assert step == other_step
        assert all(torch.equal(weights[key], other[key]) for key in weights)
    rows, others = true.metrics(), false.metrics()
    assert [row["validators"] for row in rows] == [row["validators"] for row in others]
    assert set(VALIDATORS.targets) - {"mixval"} <= set(rows[0]["validators"])
    assert [row["train"] for row in rows] == [row["train"] for row in others]
    # and the evaluator does read them
    assert [row["domains"]["optdigits_m"] for row in rows] != [row["domains"]["optdigits_m"] for row in others]


def test_the_oracle_is_kept_only_where_it_is_asked_for_by_name(tmp_path: Path, plain: Run) -> None:
    assert plain.results["selections"]["oracle"] == {}
    assert not plain.checkpoint("oracle").exists()
    asked = trained(tmp_path / "asked", "selection.oracle=true")
    oracle = asked.results["selections"]["oracle"]
    accuracies = [row["domains"]["optdigits_m"] for row in asked.metrics()]
    assert oracle["domains"]["optdigits_m"]["accuracy"] == max(accuracies)
    assert oracle["epoch"] == accuracies.index(max(accuracies)) + 1
    for name in ("last", "selected"):
        assert asked.results["selections"][name] == plain.results["selections"][name]
        (_, weights), (_, other) = decisions(plain, name), decisions(asked, name)
        assert all(torch.equal(weights[key], other[key]) for key in weights)


def test_a_validator_of_the_users_own_selects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine.py").write_text("def first(target, *, sign: float = 1.0):\n    return float('nan')\n")
    monkeypatch.chdir(tmp_path)
    run = trained(tmp_path / "run", "selection.validator=mine:first")
    assert [row["score"] for row in run.metrics()] == [None] * 3
    assert run.results["selections"]["selected"]["epoch"] == 1  # no score is a number: the first epoch's stays
    assert isinstance(run.recipe, Recipe)
