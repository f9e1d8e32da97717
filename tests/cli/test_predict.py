"""``uan-da predict``: lists, patterns, JSON Lines, the most probable classes, features, clusters, damaged images."""

import io
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from uan_da.api.run import Run
from uan_da.api.train import train
from uan_da.data.digits import Digits
from uan_da.data.image_files import DamagedImage
from uan_da.training import predict_files as module
from uan_da.training.predict_files import Prediction, predict_files
from uan_da.training.trained import Trained


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    few = ["method=source_only", "norm=uan", "backbone.width=4", "train.epochs=1", "train.steps_per_epoch=5"]
    return train("digits", few, out=tmp_path_factory.mktemp("runs") / "run", device="cpu", progress=False)


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, examples = tmp_path_factory.mktemp("photos"), Digits().load("optdigits_m", "test")
    for index in range(8):
        examples[index][0].save(folder / f"{index}.png")
    return folder


@pytest.fixture
def damaged(photos: Path, tmp_path: Path) -> Path:
    """Two good files around a broken one."""
    for name in ("0", "2"):
        (tmp_path / f"{name}.png").write_bytes((photos / f"{name}.png").read_bytes())
    (tmp_path / "1.png").write_bytes((photos / "1.png").read_bytes()[:60])
    return tmp_path


def test_a_list_on_standard_input(uan_da: Any, run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(photos / "5.png"), str(photos / "2.png")]
    listed = io.TextIOWrapper(io.BytesIO("\r\n".join([*names, ""]).encode()))
    monkeypatch.setattr(sys, "stdin", listed)
    done = uan_da("predict", run.folder, "-", photos / "7.png")
    assert done.returncode == 0, done.stderr
    assert pd.read_csv(io.StringIO(done.stdout))["file"].tolist() == [*names, str(photos / "7.png")]


def test_a_pattern(uan_da: Any, run: Run, photos: Path) -> None:
    done = uan_da("predict", run.folder, str(photos / "[0-3].png"))
    assert len(pd.read_csv(io.StringIO(done.stdout))) == 4
    failed = uan_da("predict", run.folder, str(photos / "*.jpg"))
    assert (failed.returncode, "matches no file" in failed.stderr) == (2, True)


def test_json_lines_have_all_that_was_asked_for(uan_da: Any, run: Run, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "predictions.jsonl"
    options = ["--format", "jsonl", "--top", "3", "--features", "--clusters", "--out", out]
    assert uan_da("predict", run.folder, photos, *options).returncode == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    table = run.predict(photos, device="cpu")
    assert [row["class"] for row in rows] == table["class"].tolist()
    assert [row["confidence"] for row in rows] == pytest.approx(table["confidence"].tolist(), abs=1e-5)
    for row in rows:
        shares = [each["confidence"] for each in row["top"]]
        assert (len(shares), row["top"][0]["class"]) == (3, row["class"])
        assert shares == sorted(shares, reverse=True)
    features = np.array([row["features"] for row in rows])
    np.testing.assert_allclose(features, run.features(photos, device="cpu"), atol=1e-4)
    clusters = {tuple(row["clusters"]) for row in rows}
    assert len(clusters) == 1
    assert all(name.startswith("backbone.") for name in clusters.pop())


def test_csv_has_the_same_in_columns(uan_da: Any, run: Run, photos: Path) -> None:
    done = uan_da("predict", run.folder, photos, "--top", "99", "--clusters")
    table = pd.read_csv(io.StringIO(done.stdout))
    shares = table[["confidence", *(f"confidence_{number}" for number in range(2, 11))]]
    assert shares.sum(axis=1).to_numpy() == pytest.approx(1.0, abs=1e-4)
    assert any(name.startswith("cluster:backbone.") for name in table.columns)


def test_clusters_are_those_of_the_layers(run: Run, photos: Path) -> None:
    trained = Trained.load(run._run, "last", torch.device("cpu"))
    (name, layer) = next((n, m) for n, m in trained.model.named_modules() if type(m).__name__.startswith("UAN"))
    seen: list[torch.Tensor] = []
    hook = layer.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].clone()))
    found = list(predict_files(trained, sorted(photos.iterdir()), clusters=True))
    hook.remove()
    expected = layer.responsibilities(seen[0]).argmax(1).tolist()  # type: ignore[operator]
    assert [prediction.clusters[name] for prediction in found if isinstance(prediction, Prediction)] == expected


def test_a_damaged_image_is_named_and_the_others_are_predicted(uan_da: Any, run: Run, damaged: Path) -> None:
    done = uan_da("predict", run.folder, damaged)
    assert done.returncode == 1
    assert [Path(name).name for name in pd.read_csv(io.StringIO(done.stdout))["file"]] == ["0.png", "2.png"]
    assert "warning: left out: " in done.stderr
    assert "1.png" in done.stderr
    assert "error: 1 of 3 images could not be read" in done.stderr
    assert "Traceback" not in done.stderr


def test_no_more_files_are_taken_than_are_under_way(run: Run, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: an endless list is read as predictions are taken."""
    monkeypatch.setattr(module, "BATCH", 4)
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield photos / f"{taken % 8}.png"

    trained = Trained.load(run._run, "last", torch.device("cpu"))
    stream = predict_files(trained, endless())
    for _ in range(9):
        assert not isinstance(next(stream), DamagedImage)
    assert taken <= 4 * (3 + module.AHEAD)
    stream.close()  # type: ignore[attr-defined]


def test_clusters_need_uan(uan_da: Any, photos: Path, tmp_path: Path) -> None:
    few = ["method=source_only", "norm=bn", "backbone.width=4", "train.epochs=1", "train.steps_per_epoch=1"]
    plain = train("digits", few, out=tmp_path / "plain", device="cpu", progress=False)
    done = uan_da("predict", plain.folder, photos, "--clusters")
    assert (done.returncode, "no UAN layer" in done.stderr) == (2, True)


def test_a_file_is_no_formula_in_csv_and_keeps_its_name_in_json(
    uan_da: Any, run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "=1+1.png").write_bytes((photos / "0.png").read_bytes())
    head, line = uan_da("predict", run.folder, "=1+1.png").stdout.splitlines()
    assert (head[:4], line[:10]) == ("file", "'=1+1.png,")
    assert json.loads(uan_da("predict", run.folder, "=1+1.png", "--format", "jsonl").stdout)["file"] == "=1+1.png"


@pytest.mark.parametrize("most", [1000, 500])
def test_a_large_image_is_read_without_a_word_or_refused(
    uan_da: Any, run: Run, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Pillow warns above its limit and refuses above twice that: here 1024 pixels are 1.02 and 2.05 times the limit."""
    Image.new("L", (32, 32)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", most)
    done = uan_da("predict", run.folder, tmp_path / "large.png")
    if most == 1000:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert done.returncode == 1
        assert "large.png: too large" in done.stderr
