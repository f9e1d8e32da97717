"""Whole trainings on a few of the digits: their numbers."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da.data.task import target_index
from uan_da.training import training as training_module
from uan_da.training.finite import NonFiniteLoss
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.training import Training

Make = Callable[..., Any]


def test_results_have_the_stable_schema(finished: Run) -> None:
    results = finished.results
    assert results["schema"] == 1
    assert (results["task"], results["method"], results["norm"]) == ("optdigits:optdigits_m", "adamatch", "uan")
    last = results["selections"]["last"]
    assert last["epoch"] == 3
    target = last["domains"]["optdigits_m"]
    assert (target["role"], target["split"], target["n"]) == ("target", "test", 360)
    assert target["interval"][0] < target["accuracy"] < target["interval"][1]
    assert results["baseline"] == {"method": "source_only", "selections": {}}


def test_metrics_have_a_row_an_epoch(finished: Run) -> None:
    rows = finished.metrics()
    assert [(row["epoch"], row["step"]) for row in rows] == [(1, 2), (2, 4), (3, 5)]
    for row in rows:
        assert row["train"]["loss"] == pytest.approx(row["train"]["source"] + row["train"]["target"], rel=1e-5)


def test_the_same_seed_gives_the_same_results_with_and_without_a_baseline(
    recipe: Make, state: Make, assert_same: Make, finished: Run, tmp_path: Path
) -> None:
    again = train(recipe(), tmp_path / "again")
    beside = train(recipe(), tmp_path / "beside", with_baseline=True)
    assert (again.folder / "results.json").read_bytes() == (finished.folder / "results.json").read_bytes()
    assert {**beside.results, "baseline": 0} == {**finished.results, "baseline": 0}
    assert beside.results["baseline"]["gain"]["n"] == 360
    assert_same(state(beside), state(finished))
    other = train(recipe("seed=1"), tmp_path / "other")
    assert other.metrics() != finished.metrics()


def test_the_callers_random_numbers_are_left_alone(recipe: Make, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    train(recipe("train.steps=1", "method=source_only", "norm=bn"), tmp_path / "r")
    assert torch.equal(torch.rand(3), expected)


def test_a_run_that_diverges_in_the_last_step_of_an_epoch_says_so(recipe: Make, tmp_path: Path) -> None:
    wild = recipe("train.steps=1", "method=source_only", "norm=bn", "train.optimizer={name: sgd, lr: 1e30}")
    with pytest.raises(
        NonFiniteLoss, match=r"step 1: after it .*predictions on .* are not finite.*last good.*--overwrite"
    ):
        train(wild, tmp_path / "r")


def test_without_a_target_image_no_branch_of_the_targets_is_asked(recipe: Make, tmp_path: Path) -> None:
    """DSBN's source branch is a BatchNorm, and under source_only all that was trained."""
    own, shared = (train(recipe("method=source_only", f"norm={norm}"), tmp_path / norm) for norm in ("dsbn", "bn"))
    assert own.results["selections"] == shared.results["selections"]


@pytest.mark.parametrize(
    ("changes", "index"),
    [
        (["method=dann"], 1),
        (["method=source_only"], 0),
        (["method=source_only", "norm=transnorm"], 1),
        (["method=source_only", "task=optdigits"], 0),
        (["method=source_only", "task=optdigits+synthetic:optdigits_m"], 1),
        (["method=dann", "task=optdigits+synthetic:optdigits_m"], 2),
    ],
)
def test_the_number_of_the_target(recipe: Make, changes: list[str], index: int) -> None:
    assert target_index(recipe(*changes)) == index


def test_a_baseline_may_have_a_protocol_of_its_own(recipe: Make, finished: Run, tmp_path: Path) -> None:
    plain = recipe("method=source_only", "train.steps=2", "norm=bn")
    run = train(recipe(), tmp_path / "r", with_baseline=plain)
    assert Run(run.folder / "baseline").recipe == plain
    assert {**run.results, "baseline": 0} == {**finished.results, "baseline": 0}


def test_a_nan_stops_before_the_step_names_it_and_keeps_the_last_good_checkpoint(
    recipe: Make, state: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = training_module.Training.advance

    def poisoned(self: Training) -> Any:
        if self.step == 3:
            with torch.no_grad():
                self.model.head.weight[0, 0] = float("nan")
        return real(self)

    monkeypatch.setattr(training_module.Training, "advance", poisoned)
    with pytest.raises(NonFiniteLoss, match=r"step 4: the loss term 'source' is nan") as caught:
        train(recipe(), tmp_path / "r")
    run = Run(tmp_path / "r")
    assert str(run.checkpoint("last")) in str(caught.value)
    assert state(run)["step"] == 2
    assert all(bool(value.isfinite().all()) for value in state(run)["model"].values())
    assert not run.done


def test_the_selected_checkpoint_is_the_best_by_the_score(finished: Run) -> None:
    best = max(finished.metrics(), key=lambda row: row["score"])
    assert torch.load(finished.checkpoint("selected"), weights_only=True)["step"] == best["step"]
    assert finished.results["selections"]["selected"]["epoch"] == best["epoch"]
