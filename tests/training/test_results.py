"""The test images of a run are predicted once an epoch, and what is written at its end is what was seen then."""

from pathlib import Path

import pytest

from uan_da.recipe import Recipe, load_recipe
from uan_da.training import results
from uan_da.training.train import train

SHORT = ["norm=bn", "backbone.width=4", "train.batch.source=8", "train.batch.target=4", "train.steps_per_epoch=1"]


@pytest.fixture
def predicted(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A place for each time that the test images are predicted."""
    calls: list[object] = []
    predict = results.predictions_on_test
    for module in ("results", "train"):
        place = f"uan_da.training.{module}.predictions_on_test"
        monkeypatch.setattr(place, lambda *args: calls.append(args) or predict(*args))
    return calls


def recipe(*overrides: str) -> Recipe:
    return load_recipe("digits", [*SHORT, "train.epochs=3", "method=source_only", *overrides])


def test_once_an_epoch_and_the_baselines_too(tmp_path: Path, predicted: list[object]) -> None:
    train(recipe("selection.oracle=true"), tmp_path / "run", with_baseline=True)
    assert len(predicted) == 3 + 3


def test_a_run_that_has_ended_is_measured_anew_to_the_same_results(tmp_path: Path, predicted: list[object]) -> None:
    asked = recipe("selection.oracle=true")
    run = train(asked, tmp_path / "run", with_baseline=True)
    written = (run.folder / "results.json").read_bytes()
    predicted.clear()
    train(asked, tmp_path / "run", with_baseline=True, resume=True)
    assert (run.folder / "results.json").read_bytes() == written
    chosen = run.results["selections"]
    epochs = {chosen[name]["epoch"] for name in ("last", "selected", "oracle")}
    assert len(predicted) == 2 * len(epochs)  # the baseline is the same training
