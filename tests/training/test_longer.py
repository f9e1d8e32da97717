"""A run that goes on to more epochs or steps than it was started with."""

import os
import signal
import warnings
from pathlib import Path

import pytest
import torch

from uan_da.errors import DataWarning, Failure, UserError
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.interrupt import Interrupted
from uan_da.training.monitor import Silent
from uan_da.training.recipe_file import as_started, is_lengthened, lengthened, recipe_text
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.training import Training

SHORT = [
    "backbone.width=4",
    "method=source_only",
    "norm=bn",
    "train.steps_per_epoch=2",
    "train.batch.source=8",
    "train.batch.target=8",
]


def epochs(number: int, *overrides: str) -> Recipe:
    return load_recipe("digits", [*SHORT, f"train.epochs={number}", *overrides])


def steps(number: int, *overrides: str) -> Recipe:
    return load_recipe("digits", [*SHORT, "train.epochs=null", f"train.steps={number}", *overrides])


def weights(run: Run) -> bytes:
    return (run.folder / "model.safetensors").read_bytes()


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(epochs(2), tmp_path_factory.mktemp("runs") / "two")


def test_it_ends_as_a_training_of_that_length(two: Run, tmp_path: Path) -> None:
    run = train(epochs(1), tmp_path / "r")
    started = run.recipe_file.read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # a constant rate does not follow the length
        run = train(epochs(2), run.folder, resume=True)
    assert (weights(run), run.metrics(), run.results) == (weights(two), two.metrics(), two.results)
    assert run.done
    assert run.recipe == epochs(2)
    text = run.recipe_file.read_bytes()
    assert text.startswith(b"# started with train.epochs=1\n")
    assert as_started(text) == started
    assert "train.epochs goes from 1 to 2" in (run.folder / "train.log").read_text()
    run.check_whole()
    assert run.load("last", torch.device("cpu"))["step"] == 4


class Stopper(Silent):
    """Stops a training before its first step, or after each."""

    def __init__(self, *, at_start: bool = False) -> None:
        self.at_start = at_start

    def start(self, training: Training, run: Run) -> None:
        if self.at_start:
            raise MemoryError

    def step(self, training: Training) -> None:
        os.kill(os.getpid(), signal.SIGTERM)


def test_stopped_at_any_moment_it_goes_on_to_the_new_length(two: Run, tmp_path: Path) -> None:
    run = train(epochs(1), tmp_path / "r")
    with pytest.raises((MemoryError, Failure)):
        train(epochs(2), run.folder, resume=True, monitor=Stopper(at_start=True))
    assert run.recipe == epochs(2)
    assert not run.done
    with pytest.raises(Interrupted):
        train(run.recipe, run.folder, resume=True, monitor=Stopper())
    assert weights(train(run.recipe, run.folder, resume=True)) == weights(two)


def test_an_epoch_that_the_end_cut_short_is_completed(tmp_path: Path) -> None:
    whole = train(steps(2), tmp_path / "whole")
    run = train(steps(1), tmp_path / "r")
    run = train(steps(2), run.folder, resume=True)
    assert [(row["epoch"], row["step"]) for row in run.metrics()] == [(1, 1), (1, 2)]
    assert run.metrics()[1:] == whole.metrics()
    assert weights(run) == weights(whole)


def test_a_schedule_that_follows_the_length_says_so(tmp_path: Path) -> None:
    run = train(epochs(1, "train.schedule=cosine"), tmp_path / "r")
    told = r"train.schedule=cosine follows .* was 0 after step 2, and is 0\.5 now"
    with pytest.warns(DataWarning, match=told):
        run = train(epochs(2, "train.schedule=cosine"), run.folder, resume=True)
    assert run.metrics()[-1]["step"] == 4


def test_fewer_and_other_changes_are_refused(two: Run, tmp_path: Path) -> None:
    before = two.recipe_file.read_bytes()
    with pytest.raises(UserError, match=r"train.epochs was 2, is 1: a run goes on to more, not to fewer"):
        train(epochs(1), two.folder, resume=True)
    with pytest.raises(UserError, match=r"differ: .*train.steps"):
        train(steps(9), two.folder, resume=True)
    with pytest.raises(UserError, match=r"accepts more train.epochs .*seed \(was 0, is 1\)"):
        train(epochs(4, "seed=1"), two.folder, resume=True)
    assert two.recipe_file.read_bytes() == before
    assert two.done


def test_only_the_length_of_the_training_is_changed_in_the_text() -> None:
    """A method may have options of these names."""
    recipe = epochs(3)
    text = recipe_text(recipe).replace("method:\n", "method:\n  epochs: 3\n  steps: 3\n").encode()
    longer = lengthened(text, "epochs", 12)
    assert is_lengthened(longer)
    assert not is_lengthened(text)
    assert longer.count(b"  epochs: 12\n") == 1
    assert longer.index(b"epochs: 12") > longer.index(b"\ntrain:\n")
    assert as_started(lengthened(longer, "epochs", 20)) == text
