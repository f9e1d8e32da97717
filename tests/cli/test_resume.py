"""``uan-da train`` of a run that is there already."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

SHORT = ["norm=bn", "method=source_only", "train.epochs=null", "train.steps=2", "train.steps_per_epoch=1"]


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
