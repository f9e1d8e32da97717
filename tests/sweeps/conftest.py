from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from uan_da.sweeps.results import Result

SHORT = (
    "train.epochs=null",
    "train.steps=2",
    "train.steps_per_epoch=1",
    "train.batch.source=4",
    "train.batch.target=4",
)
"""The digits recipe as a training of two steps."""

RECIPE = """
dataset: digits
task: optdigits:optdigits_m
input: {size: 28, channels: 3}
backbone: small_cnn
norm: {name: uan, num_clusters: 3}
method: {name: dann, trade_off: 0.5}
train: {steps: 2, steps_per_epoch: 1, batch: {source: 4, target: 4}, optimizer: {name: adam}}
published:
  - {method: DANN, task: "optdigits:optdigits_m", accuracy: 81.5, source: a paper, protocol: a CNN, oracle: true}
  - {method: DANN, task: "mnist:svhn", accuracy: 35.7, source: a paper, protocol: a CNN, oracle: true}
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe of two steps, with options of its norm and its method, and figures of others."""
    file = tmp_path / "recipe.yaml"
    file.write_text(RECIPE)
    return file


def _done(
    method: str,
    seed: int,
    target: float | None,
    *,
    norm: str = "bn",
    task: str = "a:b",
    scores: Mapping[str, float | None] | None = None,
    **more: object,
) -> Result:
    axes = {key: str(value) for key, value in more.items()}
    settings = {"task": task, "method": method, "norm": norm, "seed": str(seed), **axes}
    accuracies = {"last": target, "selected": None if target is None else target - 0.05}
    source, epoch = {"last": 0.9, "selected": 0.8}, {"last": 3, "selected": 2}
    by = {"last": scores or {}, "selected": scores or {}}
    return Result(" ".join(settings.values()), settings, "done", accuracies, source, epoch, "snd", by)


def _unfinished(method: str, seed: int, error: str = "") -> Result:
    settings = {"task": "a:b", "method": method, "norm": "bn", "seed": str(seed)}
    return Result("hash", settings, "failed" if error else "left", error=error)


@pytest.fixture
def done() -> Callable[..., Result]:
    """Makes up a finished run; what was selected is five points below the last epoch."""
    return _done


@pytest.fixture
def unfinished() -> Callable[..., Result]:
    """Makes up a run that failed, where an error is given, or is left."""
    return _unfinished


ACCURACIES = {"source_only": [0.50, 0.52, 0.57], "dann": [0.60, 0.65, 0.61], "mcd": [0.49, 0.50, 0.53]}


@pytest.fixture
def results() -> Callable[..., list[Result]]:
    """Makes up three seeds of three methods on a task: dann is better than source_only, mcd is worse."""

    def make(task: str = "a:b", shift: float = 0.0) -> list[Result]:
        seeds = [(method, seed, v) for method, values in ACCURACIES.items() for seed, v in enumerate(values)]
        return [_done(method, seed, value + shift, task=task) for method, seed, value in seeds]

    return make
