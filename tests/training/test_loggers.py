"""Loggers get every number of every epoch, and are off where nobody asks."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from uan_da.errors import UserError
from uan_da.names import LOGGERS
from uan_da.training.loggers import scalars
from uan_da.training.loggers.mlflow import flat
from uan_da.training.monitor import Several, Silent

ROW = {
    "epoch": 2,
    "step": 20,
    "train": {"loss": 0.5},
    "score": 1.0,
    "validators": {"entropy": -0.1, "mine": None},
    "domains": {"a": 0.9, "b": None},
}
FLAT = {"train/loss": 0.5, "accuracy/a": 0.9, "validator/entropy": -0.1, "epoch": 2}
TRAINING = SimpleNamespace(step=0, recipe=SimpleNamespace(to_dict=lambda: {"seed": 3, "train": {"epochs": 2}}))


def test_a_row_is_flattened_without_what_has_no_number() -> None:
    assert scalars(ROW) == FLAT


def test_a_recipe_is_flattened() -> None:
    assert flat({"seed": 3, "train": {"batch": {"source": 8}}, "task": "a:b"}) == {
        "seed": 3,
        "train.batch.source": 8,
        "task": "a:b",
    }


@pytest.mark.parametrize(
    ("name", "module"), [("tensorboard", "torch.utils.tensorboard.writer"), ("wandb", "wandb"), ("mlflow", "mlflow")]
)
def test_a_missing_package_is_named_with_the_extra_that_brings_it(
    monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(UserError, match=rf"--log {name}: .*pip install 'uan-da\[{name}\]'"):
        LOGGERS.load(name)()


def test_tensorboard_writes_event_files(tmp_path: Any) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    logger = LOGGERS.load("tensorboard")()
    logger.start(TRAINING, SimpleNamespace(folder=tmp_path))
    logger.epoch(ROW)
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == set(FLAT)
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(20, 0.5)]


def test_wandb_and_mlflow_get_recipe_and_numbers(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    told: list[Any] = []

    def note(name: str) -> Any:
        return lambda *arguments, **named: told.append((name, arguments, named))

    opened = SimpleNamespace(log=note("log"))
    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=lambda **named: told.append(named) or opened))
    names = ("set_experiment", "start_run", "end_run", "log_params", "log_metrics")
    fake = SimpleNamespace(active_run=lambda: None, **{name: note(name) for name in names})
    monkeypatch.setitem(sys.modules, "mlflow", fake)
    for name in ("wandb", "mlflow"):
        logger = LOGGERS.load(name)()
        logger.start(TRAINING, SimpleNamespace(folder=tmp_path))
        logger.epoch(ROW)
    assert told[0]["config"] == {"seed": 3, "train": {"epochs": 2}}
    assert ("log", (FLAT,), {"step": 20}) in told
    assert ("log_params", ({"seed": 3, "train.epochs": 2},), {}) in told
    assert ("log_metrics", (FLAT,), {"step": 20}) in told


def test_several_monitors_are_all_told() -> None:
    told: list[str] = []

    class Noting(Silent):
        def epoch(self, row: dict[str, Any]) -> None:
            told.append("told")

    Several(Noting(), Noting()).epoch(ROW)
    assert told == ["told", "told"]
