"""What the machine does to a training is one message, and leaves the last good checkpoint."""

import errno
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.errors import Failure, UserError
from uan_da.recipe import load_recipe
from uan_da.training.checkpoint import Checkpoints, Saved
from uan_da.training.device import ran_out_of_memory
from uan_da.training.failure import told
from uan_da.training.monitor import Silent
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.training import Training

SHORT = [
    "backbone.width=4",
    "train.epochs=null",
    "train.steps=4",
    "train.steps_per_epoch=2",
    "method=source_only",
    "norm=bn",
]


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
    with pytest.raises(UserError, match=r"Read-only file system; the last good.*step-2\.pt"), told(Run(tmp_path / "r")):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), "train.log")
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


def plates(folder: Path) -> Path:
    """Two domains of two classes, 20 small images of each."""
    rng = np.random.default_rng(0)
    for place in (folder / domain / label for domain in ("scan", "photo") for label in ("ant", "bee")):
        place.mkdir(parents=True)
        for number in range(20):
            Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(place / f"{number:02d}.png")
    return folder


class Vanishing(Silent):
    """Takes a domain's images away after a step."""

    def __init__(self, folder: Path, after: int) -> None:
        self.folder, self.after = folder, after

    def step(self, training: Training) -> None:
        if training.step == self.after:
            self.folder.rename(self.folder.with_name("away"))


def test_images_that_vanish_are_named_and_the_run_goes_on_once_they_are_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Images of a task that does not fit in memory are read in each step."""
    monkeypatch.setattr("uan_da.data.storage.MEMORY", 0)
    monkeypatch.setenv("UAN_DA_CACHE", "off")
    folder = plates(tmp_path / "plates")
    batch = ["train.batch.source=8", "train.batch.target=8", "input.size=12"]
    batch += ["train.steps=12", "train.steps_per_epoch=6"]
    recipe = load_recipe("digits", [*SHORT, *batch, f"dataset={folder}", "task=scan:photo"])
    with pytest.raises(UserError, match=r"photo/.*\.png: no such image\n.*uan-da datasets check"):
        train(recipe, tmp_path / "r", monitor=Vanishing(folder / "photo", 3))
    assert Run(tmp_path / "r").load("last", torch.device("cpu"))["step"] in (0, 6)
    (folder / "away").rename(folder / "photo")
    run, whole = train(recipe, tmp_path / "r", resume=True), train(recipe, tmp_path / "whole")
    assert (run.results, run.metrics()) == (whole.results, whole.metrics())
