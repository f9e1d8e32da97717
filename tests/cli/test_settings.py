"""The settings from the command line: what applies, what is refused, and what is printed and kept."""

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from uan_da.data.adapter import labels_of
from uan_da.data.open_dataset import open_dataset
from uan_da.names import METHODS
from uan_da.recipe.classes import SETTINGS

pytestmark = pytest.mark.usefixtures("without_processes")
FEW = ["norm=bn", "backbone.width=4", "input.size=16", "train.epochs=1", "train.steps_per_epoch=2"]
Command = Callable[..., tuple[int, str, str]]


@pytest.mark.parametrize("setting", SETTINGS)
def test_list_names_the_methods_that_serve_a_setting(setting: str, uan_da: Command) -> None:
    code, out, _ = uan_da("list", "methods", "--setting", setting)
    found = [line.split()[0] for line in out.splitlines()]
    assert (code, found) == (0, [name for name in METHODS.targets if setting in METHODS.load(name).settings])
    assert {"source_only", "joint"} <= set(found)


@pytest.mark.parametrize("arguments", [["norms"], ["methods", "dann"], []])
def test_a_setting_chooses_among_methods(arguments: list[str], uan_da: Command) -> None:
    code, _, error = uan_da("list", *arguments, "--setting", "partial")
    assert code == 2
    assert "uan-da list methods --setting" in error


def test_a_run_reports_what_papers_report_and_what_knows_no_unknown_refuses_it(uan_da: Command, tmp_path: Path) -> None:
    run, more = tmp_path / "run", ["train.epochs=4", "seed=2", "selection.oracle=true"]
    _, out, error = uan_da("train", "digits-open", *FEW, *more, "--device", "cpu", "--out", run)
    assert error == ""
    selections = json.loads((run / "results.json").read_text())["selections"]
    rows = [json.loads(row) for row in (run / "metrics.jsonl").read_text().splitlines()]
    accuracies, h_scores = ([row[key]["optdigits_m"] for row in rows] for key in ("domains", "h_score"))
    best = h_scores.index(max(h_scores))
    assert best != accuracies.index(max(accuracies))
    assert selections["oracle"]["epoch"] == best + 1
    assert f"epoch {best + 1}, optdigits_m H-score {100 * h_scores[best]:.1f}\n" in out
    assert f"epoch 4: loss {rows[3]['train']['loss']:.4f}, accuracy" in (run / "train.log").read_text()
    assert f"H-score {{'optdigits_m': {h_scores[3]}}}" in (run / "train.log").read_text()
    numbers = selections["last"]["domains"]
    own, line = numbers["optdigits_m"]["open_set"], "optdigits_m: H-score {:.1f} (shared classes {:.1f}"
    assert "open_set" not in numbers["optdigits"]
    assert line.format(100 * own["h_score"], 100 * own["known"]) in out
    assert "the part of images of other classes that is rejected as unknown" in (run / "report.html").read_text()
    _, out, _ = uan_da("evaluate", run, "--device", "cpu")
    assert line.format(100 * own["h_score"], 100 * own["known"]) in out
    table = pd.read_csv(run / "evaluation" / "last.csv", dtype={"label": str, "predicted": str})
    target = table[table["role"] == "target"]
    rejected = target[target["label"] == "unknown"]["predicted"] == "unknown"
    assert rejected.mean() == pytest.approx(own["unknown"])
    assert set(target["label"]) == {*"012345", "unknown"}

    code, _, error = uan_da("adapt", run, "domain:optdigits_m", "--method", "tent", "--out", tmp_path / "adapted")
    assert code == 2
    assert "method 'tent' adapts runs of closed_set" in error
    assert "is one of universal adaptation" in error
    stream = ["stream", run, "--domain", "optdigits_m", "--method", "bn_1", "--out", tmp_path / "stream"]
    code, _, error = uan_da(*stream)
    assert code == 2
    assert "serve closed_set, and the run is of universal adaptation" in error


def test_a_run_lists_the_labelled_images_of_its_target(uan_da: Command, tmp_path: Path) -> None:
    code, _, error = uan_da("train", "digits-semi", *FEW, "--device", "cpu", "--out", tmp_path / "run")
    assert (code, error) == (0, "")
    listed = json.loads((tmp_path / "run" / "results.json").read_text())["labelled"]
    labels = labels_of(open_dataset("digits").load("optdigits_m", "train"))[listed]
    assert sorted(labels.tolist()) == sorted([*range(10)] * 3)


def test_a_table_ranks_by_the_h_score(uan_da: Command, tmp_path: Path) -> None:
    grid = ["compare", "digits-open", *FEW, "--method", "joint", "--device", "cpu", "--out", tmp_path / "out"]
    code, out, error = uan_da(*grid)
    assert (code, error) == (0, "")
    assert "target H-score, % (last epoch)" in out
    table = json.loads((tmp_path / "out" / "table.json").read_text())
    assert table["measure"] == "H-score"
    runs = [json.loads(path.read_text()) for path in (tmp_path / "out" / "runs").glob("*/results.json")]
    found = {run["method"]: run["selections"]["last"]["domains"]["optdigits_m"]["open_set"]["h_score"] for run in runs}
    for row in table["rows"]["last"]:
        assert row["target"]["optdigits:optdigits_m"]["mean"] == found[row["variant"][0][1]]
