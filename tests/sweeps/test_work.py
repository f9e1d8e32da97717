"""One run of a sweep in this process: started, gone on with, found done."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from uan_da.errors import Failure, UserError
from uan_da.recipe import load_recipe
from uan_da.sweeps.jobs import Event, failure
from uan_da.sweeps.work import TrainingJob, only_one
from uan_da.training.interrupt import Interrupted
from uan_da.training.run import Run

LONGER = ["train.steps=4", "train.steps_per_epoch=4"]


@pytest.fixture
def job(recipe: Path, tmp_path: Path) -> TrainingJob:
    return TrainingJob("a" * 16, tmp_path / "sweep", load_recipe(recipe, LONGER).to_dict())


@pytest.fixture(autouse=True)
def _tells_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uan_da.sweeps.work.PAUSE", 0.0)


def weights(job: TrainingJob) -> dict[str, torch.Tensor]:
    model: dict[str, torch.Tensor] = torch.load(Run(job.folder).checkpoint("last"), weights_only=True)["model"]
    return model


class Interrupting:
    """Hears what a run tells, and sends this process a signal after the first step."""

    def __init__(self, number: int | None = None) -> None:
        self.number = number
        self.heard: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.heard.append(event)
        if self.number is not None and event.kind == "step":
            os.kill(os.getpid(), self.number)


def test_a_run_is_trained_with_its_threads_and_says_what_it_took(job):
    hear = Interrupting()
    before = torch.get_num_threads()
    job.work("cpu", 1, hear)
    torch.set_num_threads(before)
    assert Run(job.folder).done
    used = json.loads((job.folder / "resources.json").read_text())
    assert (used["device"], used["threads"]) == ("cpu", 1)
    assert used["peak"]["host"] > 100e6
    assert json.loads((job.folder / "environment.json").read_text())["threads"] == 1
    assert (hear.heard[0].kind, hear.heard[0].step, hear.heard[0].total) == ("started", 0, 4)


def test_what_is_done_is_left_alone(job):
    job.work("cpu", 1, Interrupting())
    before = {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")}
    hear = Interrupting()
    job.work("cpu", 1, hear)
    assert {path: path.stat().st_mtime_ns for path in job.folder.rglob("*")} == before
    assert not hear.heard


def test_an_interrupted_run_goes_on_to_the_same_bits(job, tmp_path):
    whole = TrainingJob(job.run_id, tmp_path / "other", job.recipe)
    whole.work("cpu", 1, Interrupting())
    with pytest.raises(Interrupted):
        job.work("cpu", 1, Interrupting(signal.SIGTERM))
    hear = Interrupting()
    job.work("cpu", 1, hear)
    assert hear.heard[0].step == 1
    assert all(torch.equal(a, b) for a, b in zip(weights(job).values(), weights(whole).values(), strict=True))
    assert Run(job.folder).results == Run(whole.folder).results


@pytest.mark.parametrize("damage", ["no checkpoint", "half a checkpoint", "no recipe", "other recipe"])
def test_a_run_that_cannot_be_gone_on_with_is_started_anew(job, tmp_path, damage):
    with pytest.raises(Interrupted):
        job.work("cpu", 1, Interrupting(signal.SIGTERM))
    run = Run(job.folder)
    if damage == "no checkpoint":
        run.checkpoint("last").unlink()
    elif damage == "half a checkpoint":
        run.checkpoint("last").write_bytes(run.checkpoint("last").read_bytes()[:1000])
    elif damage == "no recipe":
        run.recipe_file.unlink()
    else:
        run.recipe_file.write_text(run.recipe_file.read_text().replace("steps: 4", "steps: 8"))
    hear = Interrupting()
    job.work("cpu", 1, hear)
    assert hear.heard[0].step == 0
    assert run.done


def test_missing_data_do_not_cost_what_was_trained_before(job, monkeypatch):
    with pytest.raises(Interrupted):
        job.work("cpu", 1, Interrupting(signal.SIGTERM))

    def missing(*_: object) -> None:
        raise UserError("the data are not there")

    with monkeypatch.context() as patch:
        patch.setattr("uan_da.training.training.build_task", missing)
        with pytest.raises(UserError, match="the data are not there"):
            job.work("cpu", 1, Interrupting())
    hear = Interrupting()
    job.work("cpu", 1, hear)
    assert hear.heard[0].step == 1


@pytest.mark.parametrize("error", [OSError(5, "Input/output error"), MemoryError(), torch.OutOfMemoryError("CUDA")])
def test_a_machine_that_fails_does_not_cost_what_was_trained_before(job, monkeypatch, error):
    with pytest.raises(Interrupted):
        job.work("cpu", 1, Interrupting(signal.SIGTERM))

    def fail(*_: object, **__: object) -> None:
        raise error

    for place in ("uan_da.training.checkpoint.torch.load", "uan_da.training.training.Training.load_state_dict"):
        with monkeypatch.context() as patch:
            patch.setattr(place, fail)
            with pytest.raises(Failure) as caught:
                job.work("cpu", 1, Interrupting())
            assert caught.value.__cause__ is error
            assert failure(job, caught.value).out_of_memory == (not isinstance(error, OSError))
    hear = Interrupting()
    job.work("cpu", 1, hear)
    assert hear.heard[0].step == 1


def test_other_words_about_a_recipe_do_not_cost_what_was_trained_before(job):
    with pytest.raises(Interrupted):
        job.work("cpu", 1, Interrupting(signal.SIGTERM))
    hear = Interrupting()
    replace(job, recipe={**job.recipe, "description": "other words", "published": []}).work("cpu", 1, hear)
    assert hear.heard[0].step == 1
    assert Run(job.folder).done


def test_a_training_that_fails_is_not_started_anew(job, monkeypatch):
    with pytest.raises(Interrupted):
        job.work("cpu", 1, Interrupting(signal.SIGTERM))

    def fail(*_: object) -> None:
        raise ArithmeticError("not finite")

    monkeypatch.setattr("uan_da.training.training.Training.advance", fail)
    hear = Interrupting()
    with pytest.raises(ArithmeticError):
        job.work("cpu", 1, hear)
    assert [event.step for event in hear.heard] == [1]  # from where it went on


HOLD = """
import sys, time
from pathlib import Path
from uan_da.sweeps.work import only_one
with only_one(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_lock_is_left_by_a_process_that_dies(tmp_path):
    holder = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path / "lock")], stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    timer = time.monotonic()
    os.kill(holder.pid, signal.SIGKILL)
    with only_one(tmp_path / "lock"):
        assert time.monotonic() - timer < 30
    holder.wait()
    holder.stdout.close()
