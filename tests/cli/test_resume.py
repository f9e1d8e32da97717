"""``uan-da train`` of a run that is there already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

SHORT = [
    "norm=bn",
    "backbone.width=4",
    "method=source_only",
    "train.epochs=null",
    "train.steps=2",
    "train.steps_per_epoch=1",
]


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """A report takes longer than these trainings, and resuming does not depend on it."""
    monkeypatch.setattr("uan_da.cli.report.write_report", lambda *_, **__: None)


def test_a_job_that_is_started_again_goes_on_and_needs_no_recipe(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    job = ["train", "digits", *SHORT, "--out", "r", "--device", "cpu", "--resume-or-start"]
    assert uan_da(*job, cwd=tmp_path).returncode == 0  # nothing is there: it starts
    results = (tmp_path / "r" / "results.json").read_bytes()
    weights = (tmp_path / "r" / "model.safetensors").read_bytes()
    (tmp_path / "r" / "results.json").unlink()
    (tmp_path / "r" / "done").unlink()
    for again in (job, ["train", "--resume", "--out", "r", "--device", "cpu"]):
        done = uan_da(*again, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert (tmp_path / "r" / "results.json").read_bytes() == results
        assert (tmp_path / "r" / "model.safetensors").read_bytes() == weights


def test_without_a_run_a_recipe_is_needed(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    done = uan_da("train", "--resume-or-start", "--out", "r", cwd=tmp_path)
    assert done.returncode == 2
    assert "which recipe? uan-da list recipes" in done.stderr
    assert not (tmp_path / "r").exists()


def test_train_longer_needs_no_recipe(uan_da: Callable[..., Any], tmp_path: Path) -> None:
    def train(*arguments: str) -> Any:
        return uan_da("train", *arguments, "--device", "cpu", cwd=tmp_path)

    start = ["digits", *SHORT, "method=minent", "--with-baseline"]
    assert train(*start, "--out", "r").returncode == 0
    done = train("--resume", "--out", "r", "train.steps=3")
    assert done.returncode == 0, done.stderr
    assert (
        train("digits", *SHORT, "method=minent", "train.steps=3", "--with-baseline", "--out", "whole").returncode == 0
    )
    for name in ("results.json", "model.safetensors"):
        assert (tmp_path / "r" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    again = train("--resume-or-start", "--out", "r", "train.steps=2")
    assert (again.returncode, again.stderr) == (
        2,
        "error: train.steps was 3, is 2: a run goes on to more, not to fewer\n",
    )
    assert (tmp_path / "r" / "done").is_file()
