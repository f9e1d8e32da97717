"""A training of five steps on a few of the digits, and what interrupts and compares it."""

import os
from collections.abc import Callable
from typing import Any

import pytest
import torch

from uan_da.recipe import Recipe, load_recipe
from uan_da.training.monitor import Silent
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.training import Training


def _recipe(*overrides: str) -> Recipe:
    short = [
        "backbone.width=4",
        "train.epochs=null",
        "train.steps=5",
        "train.steps_per_epoch=2",
        "train.batch.source=8",
        "train.batch.target=8",
    ]
    return load_recipe("digits", [*short, *overrides])


class Stopper(Silent):
    """Sends a signal to this process after a step."""

    def __init__(self, after: int, number: int) -> None:
        self.after, self.number = after, number

    def step(self, training: Training) -> None:
        if training.step == self.after:
            os.kill(os.getpid(), self.number)


def _state(run: Run) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(run.checkpoint("last"), weights_only=True)
    return saved


def _assert_same(one: Any, two: Any, path: str = "") -> None:
    assert type(one) is type(two), path
    if isinstance(one, dict):
        assert one.keys() == two.keys(), path
        for key in one:
            _assert_same(one[key], two[key], f"{path}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(two), path
        for index, (a, b) in enumerate(zip(one, two, strict=True)):
            _assert_same(a, b, f"{path}.{index}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, two), path
    else:
        assert one == two, path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return train(_recipe(), tmp_path_factory.mktemp("runs") / "plain")


@pytest.fixture
def recipe() -> Callable[..., Recipe]:
    """``recipe(*overrides)``: five steps in three epochs."""
    return _recipe


@pytest.fixture
def stopper() -> type[Stopper]:
    """``stopper(step, signal)``: a monitor."""
    return Stopper


@pytest.fixture
def state() -> Callable[[Run], dict[str, Any]]:
    """``state(run)``: the last checkpoint."""
    return _state


@pytest.fixture
def assert_same() -> Callable[[Any, Any], None]:
    """``assert_same(one, two)``: two states are equal to the bit."""
    return _assert_same
