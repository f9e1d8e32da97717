from pathlib import Path

import pytest

from uan_da.cli.report import write_report
from uan_da.recipe import load_recipe
from uan_da.training.train import train

SHORT = [
    "backbone.width=4",
    "train.epochs=2",
    "train.steps_per_epoch=2",
    "train.batch.source=8",
    "train.batch.target=8",
]


@pytest.fixture(scope="session")
def reported_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short run of the digits with its baseline, and its report."""
    folder = tmp_path_factory.mktemp("report") / "run"
    train(load_recipe("digits", [*SHORT, "selection.oracle=true"]), folder, with_baseline=True)
    write_report(folder, "cpu")
    return folder
