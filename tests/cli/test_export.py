"""``uan-da export`` on the command line."""

from pathlib import Path
from typing import Any

import pytest
import torch

from uan_da.recipe import load_recipe
from uan_da.training.run import Run
from uan_da.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    short = ["backbone.width=4", "method=source_only", "norm=bn", "train.epochs=1", "train.steps_per_epoch=2"]
    return train(load_recipe("digits", short), tmp_path_factory.mktemp("runs") / "run")


def test_it_says_what_was_compared_and_written(uan_da: Any, run: Run, tmp_path: Path) -> None:
    done = uan_da("export", run.folder, "--out", tmp_path / "model.pt2")
    assert done.returncode == 0, done.stderr
    assert "compared with PyTorch on 360 test images of optdigits_m" in done.stdout
    assert (tmp_path / "model.labels.txt").read_text().split() == list("0123456789")
    torch.export.load(tmp_path / "model.pt2")


def test_both_formats_share_their_labels(uan_da: Any, run: Run, tmp_path: Path) -> None:
    (tmp_path / "model.labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    done = uan_da("export", run.folder, "--format", "pt2", "--out", tmp_path / "model.pt2")
    assert done.returncode == 0, done.stderr
    (tmp_path / "other.labels.txt").write_text("mine\n")
    done = uan_da("export", run.folder, "--format", "pt2", "--out", tmp_path / "other.pt2")
    assert done.returncode == 2
    assert "other.labels.txt: exists already" in done.stderr
    assert (tmp_path / "other.labels.txt").read_text() == "mine\n"
    assert not (tmp_path / "other.pt2").exists()


def test_mistakes(uan_da: Any, run: Run, tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_text("mine")
    for folder, out, words in (
        (run.folder, file, "--overwrite"),
        (run.folder, tmp_path / "none" / "model.onnx", "there is no folder"),
        (tmp_path, tmp_path / "other.onnx", "holds no run"),
        (run.folder, tmp_path / "m.txt", f"{tmp_path / 'm.txt'}: the name of the file must end in .onnx or .pt2"),
        (run.folder, tmp_path / "m.onnx", "must end in .pt2"),
    ):
        done = uan_da("export", folder, "--out", out, *(["--format", "pt2"] if out.name == "m.onnx" else []))
        assert done.returncode == 2
        assert words in done.stderr
    assert file.read_text() == "mine"
