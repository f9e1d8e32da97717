"""``uan-da tune`` on runs of two steps."""

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("optuna")
pytestmark = pytest.mark.usefixtures("without_processes")
SHORT = [
    "norm=bn",
    "method=source_only",
    "backbone.width=4",
    "train.epochs=null",
    "train.steps=2",
    "train.steps_per_epoch=1",
    "train.batch.source=4",
    "train.batch.target=4",
]


def test_a_search_to_the_command_that_trains_its_choice(uan_da: Callable[..., tuple[int, str, str]], tmp_path: Path):
    (tmp_path / "space.yaml").write_text("train.optimizer.lr: [1e-3, 1e-2]\n")
    search = ["tune", "digits", *SHORT, "--space", "space.yaml", "--validator", "entropy", "--device", "cpu"]
    code, out, error = uan_da(*search, "--trials", 2, cwd=tmp_path)
    assert (code, error) == (0, "")
    assert "2 trials, by entropy" in out
    assert "ranked and selected by entropy, which reads no target label" in out
    assert "chosen by entropy: trial " in out
    assert "again: uan-da train digits norm=bn method=source_only" in out
    assert "selection.validator=entropy" in out
    assert (tmp_path / "runs" / "digits" / "tune" / "trials.md").is_file()


def test_a_mistake_in_the_space_is_one_message(uan_da: Callable[..., tuple[int, str, str]], tmp_path: Path):
    (tmp_path / "space.yaml").write_text("train.optimizer.lr: {low: 1, high: 0}\n")
    code, _, error = uan_da(
        "tune", "digits", "--space", "space.yaml", "--trials", 2, "--validator", "snd", cwd=tmp_path
    )
    assert code == 2
    assert "space.yaml:1: train.optimizer.lr: expected 'low' below 'high'" in error
