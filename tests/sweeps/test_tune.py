"""Searches whose runs are made up: an executor that writes the files of a run without training it."""

import json
import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from uan_da.errors import UserError
from uan_da.files import write_json
from uan_da.recipe import load_recipe
from uan_da.recipe.source import dump_yaml
from uan_da.sweeps.here import Here
from uan_da.sweeps.jobs import Event, Job, Tell
from uan_da.sweeps.space import Range, Space
from uan_da.sweeps.tune import Search, Trial, _report, best_by_epoch, floors_of, sheet, tune
from uan_da.sweeps.work import TrainingJob, cut
from uan_da.training.checkpoint import Manifest
from uan_da.training.run import Run

optuna = pytest.importorskip("optuna")
SPACE = Space({"train.optimizer.lr": Range(low=1e-4, high=1.0, log=True)})
TARGETS: dict[str, Callable[[float], float]] = {
    "low": lambda lr: -math.log10(lr) / 5,
    "high": lambda lr: 1 + math.log10(lr) / 5,
}
"""Accuracies on the target that are best at the lowest learning rate, and at the highest."""


class MadeUp:
    """Scores a learning rate by its distance from 0.01; the three epochs rise to it."""

    def __init__(
        self, fails: Callable[[float], bool] = lambda lr: False, target: Callable[[float], float] = lambda lr: 0.1
    ) -> None:
        self.fails, self.target, self.trained = fails, target, list[str]()
        self.stopped = 0

    threads = 1

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        for job in jobs:
            assert isinstance(job, TrainingJob)
            self.trained.append(job.run_id)
            lr = job.recipe["train"]["optimizer"]["lr"]
            if self.fails(lr):
                tell(Event("failed", job.run_id, error="ValueError: no"))
                continue
            self._write(job, -abs(math.log10(lr) + 2), self.target(lr))
            tell(Event("finished", job.run_id))

    def _write(self, job: TrainingJob, score: float, target: float) -> None:
        run = Run(job.folder)
        run.folder.mkdir(parents=True, exist_ok=True)
        run.recipe_file.write_text(dump_yaml(job.recipe))
        rows: list[dict[str, float]] = []
        for epoch in (1, 2, 3):
            rows.append({"epoch": epoch, "score": score - (3 - epoch)})
            run.checkpoints.folder.mkdir(exist_ok=True)
            run.checkpoints.publish(Manifest("", epoch, metrics=rows))
            if cut(rows, job.floors):
                self.stopped += 1
                return
        domains = {"a": {"role": "source", "accuracy": 0.9}, "b": {"role": "target", "accuracy": target}}
        write_json(run.folder / "results.json", {"selections": {"selected": {"domains": domains}}})
        run.finish()


def search(recipe: Path, out: Path, trials: int, executor: MadeUp | Here, at_once: int = 2) -> Search:
    options = {"trials": trials, "validator": "snd", "executor": executor, "at_once": at_once}
    return tune(recipe, ["norm=bn"], SPACE, out=out, **options)  # type: ignore[arg-type]


def test_the_validator_chooses_and_early_stops_do_not_win(recipe, tmp_path):
    executor = MadeUp()
    found = search(recipe, tmp_path / "out", 16, executor)
    assert len(found.trials) == len(executor.trained) == 16
    states = [trial.state for trial in found.trials]
    assert states == sorted(states)  # done, then stopped
    assert executor.stopped == states.count("stopped") > 0
    scores = [trial.score for trial in found.trials if trial.state == "done"]
    assert scores == sorted(scores, reverse=True)
    assert found.best is not None
    assert found.best.recipe.selection.validator.name == "snd"
    lr = found.best.recipe.train.optimizer.options["lr"]
    assert found.best.score == pytest.approx(-abs(math.log10(lr) + 2))
    assert abs(math.log10(lr) + 2) < 0.5
    assert (found.best.epoch, found.best.source, found.best.target) == (3, 0.9, 0.1)


def test_the_same_call_goes_on_and_trains_nothing_twice(recipe, tmp_path):
    first, second, whole = MadeUp(), MadeUp(), MadeUp()
    search(recipe, tmp_path / "out", 8, first)
    found = search(recipe, tmp_path / "out", 14, second)
    expected = search(recipe, tmp_path / "whole", 14, whole)
    assert [(t.number, t.point, t.score, t.state) for t in found.trials] == [
        (t.number, t.point, t.score, t.state) for t in expected.trials
    ]
    assert first.trained + second.trained == whole.trained


def test_target_labels_change_nothing(recipe, tmp_path):
    """Equal scores with opposite targets: the draws and the choice are the same, past those that are random anyhow."""
    low, high = (search(recipe, tmp_path / name, 16, MadeUp(target=TARGETS[name])) for name in TARGETS)
    assert [(t.number, t.point, t.score) for t in low.trials] == [(t.number, t.point, t.score) for t in high.trials]
    done = [pair for pair in zip(low.trials, high.trials, strict=True) if pair[0].state == "done"]
    assert all(one.target != other.target for one, other in done)


def test_a_search_that_is_told_the_target_draws_otherwise(recipe, tmp_path, monkeypatch):
    """That the test above would notice it."""

    def leaking(optuna: Any, study: Any, one: Any, trial: Trial) -> None:
        _report(optuna, study, one, trial if trial.target is None else replace(trial, scores=[trial.target]))

    monkeypatch.setattr("uan_da.sweeps.tune._report", leaking)
    low, high = (search(recipe, tmp_path / name, 16, MadeUp(target=TARGETS[name])) for name in TARGETS)
    assert {tuple(trial.point) for trial in low.trials} != {tuple(trial.point) for trial in high.trials}


def test_a_trial_that_fails_is_listed_and_the_others_go_on(recipe, tmp_path):
    found = search(recipe, tmp_path / "out", 8, MadeUp(fails=lambda lr: lr > 0.1))
    failed = [trial for trial in found.trials if trial.state == "failed"]
    assert 0 < len(failed) < 8
    assert {trial.error for trial in failed} == {"ValueError: no"}
    assert found.best is not None
    assert found.best.state == "done"


def test_a_point_that_is_no_recipe_is_told(recipe, tmp_path):
    wrong = Space({"train.learning_rate": (1, 2)})
    with pytest.raises(UserError, match="unknown key 'learning_rate'"):
        tune(recipe, [], wrong, out=tmp_path / "out", trials=2, validator="snd", executor=MadeUp())
    with pytest.raises(UserError, match="unknown validator 'sdn'"):
        tune(recipe, [], SPACE, out=tmp_path / "out", trials=2, validator="sdn", executor=MadeUp())


def test_without_optuna_the_way_to_it_is_told(recipe, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UserError, match=r"pip install 'uan-da\[tune\]'"):
        search(recipe, tmp_path, 2, MadeUp())


def trial(*scores: float | None, state: str = "done") -> Trial:
    return Trial(0, [], "", load_recipe("digits"), scores, state)


def test_floors_are_medians_of_the_best_so_far_of_whole_trials():
    whole = [trial(1.0, 0.0, 3.0), trial(2.0, 5.0, 5.0), trial(None, 1.0), trial(0.0, 0.0, 9.0), trial(4.0, 4.0)]
    assert floors_of(whole[:4]) == {}
    assert floors_of([*whole, trial(100.0, state="stopped")]) == {1: 1.0, 2: 1.0}
    assert best_by_epoch([None, 1.0, 0.5, None, 2.0]) == [float("-inf"), 1.0, 1.0, 1.0, 2.0]


def test_a_run_is_cut_at_the_first_epoch_below_its_floor():
    rows = [{"epoch": 1, "score": 2.0}, {"epoch": 2, "score": None}, {"epoch": 3, "score": 2.5}]
    assert cut(rows, {}) is None
    assert cut(rows, {1: 2.0, 2: 2.0, 3: 2.5, 4: 9.0}) is None
    assert cut(rows, {2: 2.1}) == 2
    assert cut(rows, {1: 3.0, 3: 3.0}) == 1
    assert cut([{"epoch": 1, "score": None}], {1: -5.0}) == 1


def test_the_table_says_which_validator_chose(recipe, tmp_path):
    page = sheet(search(recipe, tmp_path / "out", 3, MadeUp()), SPACE)
    assert page.head == ["", "trial", "train.optimizer.lr", "state", "snd", "epoch", "source", "target"]
    assert "by snd" in page.title
    assert any("snd, which reads no target label" in note for note in page.notes)
    assert all(len(row) == len(page.head) for row in page.rows)


def test_real_runs_are_stopped_early_by_their_floors(recipe, tmp_path):
    job = TrainingJob("a" * 16, tmp_path / "sweep", load_recipe(recipe, ["train.steps=3"]).to_dict(), {2: math.inf})
    heard: list[Event] = []
    Here("cpu").run([job], heard.append)
    assert heard[-1].kind == "finished"
    assert not Run(job.folder).done
    assert json.loads((job.folder / "metrics.jsonl").read_text().splitlines()[-1])["epoch"] == 2
    Here("cpu").run([TrainingJob(job.run_id, job.sweep, job.recipe)], heard.append)  # as a comparison would
    assert Run(job.folder).done
