"""Trainings that are interrupted, killed or damaged, and go on."""

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da.errors import DataWarning, UserError
from uan_da.training.interrupt import Interrupted
from uan_da.training.monitor import Silent
from uan_da.training.run import Run
from uan_da.training.saver import Saver
from uan_da.training.train import train
from uan_da.training.training import Training

Make = Callable[..., Any]


@pytest.mark.parametrize("after", [1, 2, 3, 4])
def test_an_interrupted_run_goes_on_to_the_same_bits(
    recipe: Make, stopper: Any, state: Make, assert_same: Make, finished: Run, tmp_path: Path, after: int
) -> None:
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted) as caught:
        train(recipe(), tmp_path / "r", monitor=stopper(after, signal.SIGINT))
    assert caught.value.exit_code == 130
    assert state(Run(tmp_path / "r"))["step"] == after
    assert signal.getsignal(signal.SIGINT) is before
    run = train(recipe(), tmp_path / "r", resume=True)
    assert_same(state(run), state(finished))
    assert run.metrics() == finished.metrics()
    assert run.results == finished.results


def test_an_interrupted_baseline_goes_on_too(recipe: Make, stopper: Any, finished: Run, tmp_path: Path) -> None:
    """The signal comes in step 5 + 2: the second of the baseline."""

    class Late(stopper):
        seen = 0

        def step(self, training: Training) -> None:
            self.seen += 1
            if self.seen == self.after:
                os.kill(os.getpid(), self.number)

    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", with_baseline=True, monitor=Late(7, signal.SIGINT))
    assert not Run(tmp_path / "r").done
    run = train(recipe(), tmp_path / "r", with_baseline=True, resume=True)
    whole = train(recipe(), tmp_path / "whole", with_baseline=True)
    assert run.results == whole.results
    log = (run.folder / "train.log").read_text()
    assert "from step 5 of 5" in log
    assert "done" in log


def test_sigterm_is_143(recipe: Make, stopper: Any, tmp_path: Path) -> None:
    with pytest.raises(Interrupted) as caught:
        train(recipe(), tmp_path / "r", monitor=stopper(1, signal.SIGTERM))
    assert caught.value.exit_code == 143


def test_a_crash_after_an_epochs_row_was_written_is_mended_by_resuming(
    recipe: Make, stopper: Any, finished: Run, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=stopper(3, signal.SIGINT))
    run = Run(tmp_path / "r")
    with (run.folder / "metrics.jsonl").open("a") as file:  # epoch 2's row, whose checkpoint was never written
        file.write(json.dumps(finished.metrics()[1]) + "\n")
    assert len(run.metrics()) == 1
    assert train(recipe(), run.folder, resume=True).metrics() == finished.metrics()
    assert (run.folder / "metrics.jsonl").read_bytes() == (finished.folder / "metrics.jsonl").read_bytes()


def test_metrics_that_were_emptied_are_derived_anew(recipe: Make, stopper: Any, finished: Run, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=stopper(4, signal.SIGINT))
    run = Run(tmp_path / "r")
    for name in ("metrics.jsonl", "timing.json"):
        (run.folder / name).write_bytes(b"")
    again = train(recipe(), run.folder, resume=True)
    assert (run.folder / "metrics.jsonl").read_bytes() == (finished.folder / "metrics.jsonl").read_bytes()
    assert again.results == finished.results


def test_a_signal_in_the_last_step_is_not_lost_and_the_time_of_both_legs_counts(
    recipe: Make, stopper: Any, finished: Run, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", with_baseline=True, monitor=stopper(5, signal.SIGINT))
    run = Run(tmp_path / "r")
    assert not (run.folder / "baseline").exists()
    before = run.seconds
    assert before > 0
    assert train(recipe(), run.folder, resume=True).results == finished.results
    assert run.seconds >= before


def test_resuming_another_recipe_lists_what_differs(recipe: Make, finished: Run) -> None:
    with pytest.raises(UserError, match=r"seed \(was 0, is 4\)") as caught:
        train(recipe("seed=4", "method.threshold=0.5"), finished.folder, resume=True)
    assert "method.threshold (was 0.9, is 0.5)" in str(caught.value)


def test_resuming_what_is_not_there_or_damaged(recipe: Make, stopper: Any, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no run"):
        train(recipe(), tmp_path / "none", resume=True)
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=stopper(1, signal.SIGINT))
    for path in (tmp_path / "r" / "checkpoints").glob("*.pt"):
        path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match=r"damaged.*There is no checkpoint before it"):
        train(recipe(), tmp_path / "r", resume=True)


def test_a_damaged_checkpoint_is_replaced_by_the_one_before(
    recipe: Make, stopper: Any, state: Make, assert_same: Make, finished: Run, tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        train(recipe(), tmp_path / "r", monitor=stopper(3, signal.SIGINT))
    run = Run(tmp_path / "r")
    content = bytearray(run.checkpoint("last").read_bytes())
    content[len(content) // 2] ^= 1
    run.checkpoint("last").write_bytes(content)
    with pytest.warns(DataWarning, match=r"step-3.pt: is damaged.*The checkpoint before, of step 2, is used"):
        again = train(recipe(), run.folder, resume=True)
    assert_same(state(again), state(finished))
    assert (again.metrics(), again.results) == (finished.metrics(), finished.results)


def test_a_checkpoint_of_another_seed_is_refused(recipe: Make, stopper: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        with pytest.raises(Interrupted):
            train(recipe(f"seed={seed}"), tmp_path / str(seed), monitor=stopper(1, signal.SIGINT))
    shutil.rmtree(tmp_path / "0" / "checkpoints")
    shutil.copytree(tmp_path / "1" / "checkpoints", tmp_path / "0" / "checkpoints")
    with pytest.raises(UserError, match="of another recipe, seed or data"):
        train(recipe(), tmp_path / "0", resume=True)


def test_a_run_that_was_killed_before_its_first_checkpoint_starts_from_its_first_step(
    recipe: Make, finished: Run, tmp_path: Path
) -> None:
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "lock").touch()
    shutil.copytree(finished.folder, tmp_path / "r", ignore=shutil.ignore_patterns("checkpoints", "done", "r*.json"))
    for name in ("bare", "r"):
        assert train(recipe(), tmp_path / name, resume=True).results == finished.results


def test_a_checkpoint_every_so_often_changes_no_number(
    recipe: Make, state: Make, assert_same: Make, finished: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is killed right after one goes on from it, to the same bits."""
    seen: list[int] = []
    monkeypatch.setattr(
        Saver, "save", lambda self, step, *rest, real=Saver.save: (seen.append(step), real(self, step, *rest))
    )
    often = recipe("train.checkpoint_minutes=1e-9")

    class Dies(Silent):
        def step(self, training: Training) -> None:
            if training.step == 4:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(often, tmp_path / "r", monitor=Dies())
    assert seen == [0, 1, 2, 3]
    assert Run(tmp_path / "r").checkpoint("last").name == "step-3.pt"
    run = train(recipe(), tmp_path / "r", resume=True)
    assert_same(state(run), state(finished))
    assert (run.metrics(), run.results) == (finished.metrics(), finished.results)


def test_a_removed_last_checkpoint_of_a_finished_run_is_told(finished: Run, tmp_path: Path) -> None:
    shutil.copytree(finished.folder, tmp_path / "r", symlinks=True)
    (tmp_path / "r" / "checkpoints" / "step-5.json").unlink()
    run, told = Run(tmp_path / "r"), r"step-5\.json: is missing\. The checkpoint before, of step 4, is used"
    with pytest.warns(DataWarning, match=told):
        assert run.load("last", torch.device("cpu"))["step"] == 4
    with pytest.warns(DataWarning, match=told):
        assert run.metrics()[-1]["step"] == 4
    with pytest.warns(DataWarning, match=told):
        assert run.checkpoint("last").name == "step-4.pt"
    with pytest.warns(DataWarning, match=told):
        assert run.seconds > 0
