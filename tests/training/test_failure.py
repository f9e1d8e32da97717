"""What the machine does to a training is one message, and leaves the last good checkpoint."""

import errno
import os
from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da.errors import Failure, UserError
from uan_da.recipe import load_recipe
from uan_da.training.checkpoint import Checkpoints, Saved
from uan_da.training.device import ran_out_of_memory
from uan_da.training.failure import told
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.training import Training

SHORT = ["train.epochs=null", "train.steps=4", "train.steps_per_epoch=2", "method=source_only", "norm=bn"]


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EDQUOT])
def test_a_disk_that_fails_is_a_failure_and_one_that_forbids_is_a_users_error(tmp_path: Path, number: int) -> None:
    with (
        pytest.raises(Failure, match=rf"a\.pt: {os.strerror(number)}; there is no checkpoint yet"),
        told(Run(tmp_path)),
    ):
        raise OSError(number, os.strerror(number), str(tmp_path / "a.pt"))
    for forbidden in (errno.EROFS, errno.EACCES):
        with pytest.raises(UserError, match=rf"a\.pt: {os.strerror(forbidden)}"), told(Run(tmp_path)):
            raise OSError(forbidden, os.strerror(forbidden), str(tmp_path / "a.pt"))


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")]
)
def test_too_little_memory_names_the_ways_out(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(Failure, match=r"out of memory.*train\.batch.*input\.size") as caught, told(Run(tmp_path)):
        raise error
    assert ran_out_of_memory(caught.value)


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a bug"), told(Run(tmp_path)):
        raise RuntimeError("a bug")


def test_a_disk_that_fills_up_while_a_thread_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, recipe = Checkpoints.write_state, load_recipe("digits", SHORT)

    def full(self: Checkpoints, step: int, state: Any) -> Saved:
        if step == 4:
            raise OSError(errno.ENOSPC, "No space left on device", "step-4.pt")
        return real(self, step, state)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "write_state", full)
        with pytest.raises(Failure, match=r"step-4\.pt: No space left on device; the last good.*step-2\.pt"):
            train(recipe, tmp_path / "r")
    run, whole = train(recipe, tmp_path / "r", resume=True), train(recipe, tmp_path / "whole")
    assert (run.results, run.metrics()) == (whole.results, whole.metrics())


def test_out_of_memory_in_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Training.advance

    def hungry(self: Training) -> None:
        if self.step == 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        real(self)

    monkeypatch.setattr(Training, "advance", hungry)
    with pytest.raises(Failure, match=r"out of memory.*the last good checkpoint is .*step-2\.pt"):
        train(load_recipe("digits", SHORT), tmp_path / "r")


def test_a_folder_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The user of the tests may be one whom modes do not hold."""

    def read_only(path: Any, *_: object, **__: object) -> int:
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr("uan_da.training.lock.os.open", read_only)
    with pytest.raises(UserError, match="cannot be written: Read-only file system"):
        train(load_recipe("digits", SHORT), tmp_path / "r")
