"""``uan-da stream`` on a short run."""

import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from uan_da.norms.uan.layer import UAN
from uan_da.recipe import load_recipe
from uan_da.streams.grid import COLUMNS
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.trained import Trained

pytestmark = pytest.mark.usefixtures("without_processes")
SHORT = ["norm=bn", "method=source_only", "train.epochs=1", "train.steps_per_epoch=20", "dataset=digits_c"]
FEW = ["--length", "40", "--batch", "16"]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(load_recipe("digits", [*SHORT, "task=optdigits"]), tmp_path_factory.mktemp("run") / "run").folder


def test_results_a_row_a_method_and_domain_and_done_cells_are_kept(uan_da: Any, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask = ["stream", run, "--domain", "fog,contrast", "--setting", "mixed,single", *FEW, "--seed", "0..1", "--out", out]
    done = uan_da(*ask, "--method", "bn_1,uan")
    assert done.returncode == 0, done.stderr
    assert "16 cells of 4 streams: 0 done" in done.stdout
    assert f"{run}  single  seed 1: done" in done.stdout
    assert "mixed 16" in done.stdout
    table = pd.read_csv(out / "results.csv")
    assert tuple(table.columns) == COLUMNS
    assert len(table) == 4 * 4 * 3  # source, two methods and the oracle; two settings and seeds; all, fog, contrast
    assert set(table["method"]) == {"source", "bn_1", "uan", "oracle"}
    assert table["error"].between(0, 1).all()
    assert set(table[table["domain"] == "all"]["n"]) == {80}
    assert "over time" in (out / "report.html").read_text().lower()

    kept = {path: path.stat().st_mtime_ns for path in (out / "cells").glob("*/*.json")}
    assert len(kept) == 16
    again = uan_da(*ask, "--method", "bn_1,lame", "uan.num_clusters=4", "--method", "uan")
    assert again.returncode == 0, again.stderr
    assert "12 cells of 4 streams: 8 done" in again.stdout
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())
    assert len(list((out / "cells").glob("*/*.json"))) == len(kept) + 4
    assert set(pd.read_csv(out / "results.csv")["method"]) == {"source", "uan num_clusters=4", "oracle"}


def test_the_same_twice_is_the_same(uan_da: Any, run: Path, tmp_path: Path) -> None:
    tables = []
    for name in ("one", "two"):
        done = uan_da(
            "stream", run, "--domain", "mixed", *FEW, "--method", "uan,tent,unmix_tns", "--out", tmp_path / name
        )
        assert done.returncode == 0, done.stderr
        tables.append(pd.read_csv(tmp_path / name / "results.csv").drop(columns=["ms_per_image"]))
    pd.testing.assert_frame_equal(*tables)
    assert "gaussian_noise" in set(tables[0]["domain"])  # of a domain of mixed conditions, each is a row


def test_gradual_goes_through_the_severities(uan_da: Any, run: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    ask = ["--setting", "gradual", "--length", "10", "--method", "bn_1", "--out", out]
    done = uan_da("stream", run, "--domain", "fog", *ask)
    assert done.returncode == 0, done.stderr
    assert set(pd.read_csv(out / "results.csv")["n"]) == {90}
    done = uan_da("stream", run, "--domain", "optdigits", "--dataset", "digits", *ask)
    assert done.returncode == 2
    assert "has severities" in done.stderr


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["--domain", "foggy"], "did you mean 'fog'"),
        (["--setting", "mixd"], "did you mean 'mixed'"),
        (["--batch", "0"], "sizes from 1 to 200"),
        (["--batch", "x"], "whole numbers"),
        (["--seed", "2..1"], "a range such as"),
        (["--seed", "0..1000000000"], "at most 10,000 seeds"),
        (["--split", "all"], "train or test"),
        (["--method", "uam"], "did you mean 'uan'"),
        (["uan.num_cluster=4"], "num_clusters"),
        (["eata.lr=1"], "of one of the methods"),
        (["--dataset", "office31"], "other classes"),
    ],
)
def test_mistakes_are_told_in_one_message(uan_da: Any, run: Path, tmp_path: Path, change: list[str], said: str) -> None:
    ask = ["stream", run, "--domain", "fog", "--method", "uan", "--length", "5", "--out", tmp_path / "out"]
    done = uan_da(*ask, *change)
    assert done.returncode == 2, done.stdout
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_the_folder_of_a_comparison_is_refused(uan_da: Any, run: Path, tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "table.json").touch()
    done = uan_da("stream", run, "--domain", "fog", "--method", "uan", "--length", "5", "--out", tmp_path)
    assert done.returncode == 2
    assert f"--out {tmp_path}: holds runs, whose tables would be replaced" in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["locks", "table.json"]


def test_a_network_without_batch_norm_is_refused_with_the_reason(uan_da: Any, run: Path, tmp_path: Path) -> None:
    short = ["norm=gn", *SHORT[1:2], "train.epochs=1", "train.steps_per_epoch=1", *SHORT[4:], "task=optdigits"]
    other = train(load_recipe("digits", short), tmp_path / "gn")
    done = uan_da("stream", other.folder, "--domain", "fog", *FEW, "--method", "bn_1", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "bn_1 replaces what BatchNorm normalises by" in done.stderr


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty corrupted digits in class folders."""
    from uan_da.data.open_dataset import open_dataset

    folder, examples = tmp_path_factory.mktemp("photos"), open_dataset("digits_c").load("mixed", "test")
    for index in range(40):
        image, label = examples[index]
        (folder / str(label)).mkdir(exist_ok=True)
        image.save(folder / str(label) / f"{index:03d}.png")
    return folder


@pytest.mark.parametrize("method", ["uan", "tent", "dua"])
def test_adapting_online_predicts_in_file_order_and_saves_the_network(
    uan_da: Any, run: Path, photos: Path, tmp_path: Path, method: str
) -> None:
    out = tmp_path / "new"
    done = uan_da("adapt", run, photos, "--online", "--method", method, "--batch", "16", "--out", out)
    assert done.returncode == 0, done.stderr
    told = json.loads((out / "adapt.json").read_text())
    assert (told["online"], told["batch"], told["n"], told["labelled"]) == (True, 16, 40, 40)
    table = pd.read_csv(out / "predictions.csv")
    assert list(table["file"]) == sorted(table["file"])
    new = Trained.load(Run.open(out), "last", torch.device("cpu"))
    old = Trained.load(Run.open(run), "last", torch.device("cpu"))
    assert (new.recipe.norm.name == "uan") == (method == "uan")
    assert new.recipe.norm.options.get("depth", 0) == 0  # clusters of a stream: each layer assigns by itself
    first = [next(m for m in t.model.modules() if isinstance(m, UAN | torch.nn.BatchNorm2d)) for t in (new, old)]
    moved = first[0].weight if method == "tent" else first[0].running_mean
    assert not torch.allclose(moved, first[1].weight if method == "tent" else first[1].running_mean, atol=1e-5)
    assert uan_da("predict", out, photos).returncode == 0


def test_what_no_run_can_hold_is_refused(uan_da: Any, run: Path, photos: Path, tmp_path: Path) -> None:
    done = uan_da("adapt", run, photos, "--online", "--method", "unmix_tns", "--out", tmp_path / "new")
    assert done.returncode == 2
    assert "cannot be saved as a run" in done.stderr
    done = uan_da("adapt", run, photos, "--online", "--method", "shot", "--out", tmp_path / "new")
    assert done.returncode == 2
    assert "unknown stream method 'shot'" in done.stderr
