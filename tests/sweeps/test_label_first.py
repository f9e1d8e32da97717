"""Which images to label first, and what their labels say of each run."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.errors import UserError
from uan_da.evaluation.metrics import wilson_interval
from uan_da.recipe import load_recipe
from uan_da.sweeps.label_first import best_two, check, disagreements, read_labels, runs_of, write_list
from uan_da.training.train import train

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of one step, and the table that names them."""
    folder = tmp_path_factory.mktemp("sweep")
    random = np.random.default_rng(0)
    for name in [f"a/{c}/{i}.png" for c in ("=x", "猫") for i in range(8)] + [f"b/=={i}.png" for i in range(9)]:
        (folder / "shop" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(folder / "shop" / name)
    short = ["train.epochs=null", "train.steps=1", "train.batch.source=4", "train.batch.target=4", "norm=bn"]
    changes = [f"dataset={folder / 'shop'}", "task=a:b", "input.size=16", "augment={weak: [], strong: []}", *short]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UAN_DA_CACHE", "off")
        for seed, name in enumerate(("one", "two")):
            train(load_recipe("digits", [*changes, "method=source_only", f"seed={seed}"]), folder / "runs" / name)
    (folder / "table.json").write_text(json.dumps({"runs": ["one", "two", "three"], "best": ["two", "one"]}))
    return folder


def test_the_list_is_sorted_by_the_distance_of_the_predictions(sweep: Path) -> None:
    first, second = best_two(sweep)
    assert [run.folder.name for run in (first, second)] == ["two", "one"]
    found = disagreements(first, second, CPU)
    assert {each.file.name for each in found} == {f"=={i}.png" for i in range(9)}
    distances = [each.distance for each in found]
    others = sum(
        each.predictions[0][0] != each.predictions[1][0] for each in found
    )  # only their labels tell the runs apart
    assert all(each.predictions[0][0] != each.predictions[1][0] for each in found[:others])
    assert distances == sorted(distances[:others], reverse=True) + sorted(distances[others:], reverse=True)
    for each in found:  # of two classes: the distance is that of the first class's probabilities
        p, q = (conf if name == "=x" else 1 - conf for name, conf in each.predictions)
        assert each.distance == pytest.approx(abs(p - q), abs=1e-6)
    same = disagreements(first, first, CPU)
    assert {each.distance for each in same} == {0.0}


def test_labels_that_are_filled_in_are_counted(sweep: Path, tmp_path: Path) -> None:
    first, second = best_two(sweep)
    found = disagreements(first, second, CPU)
    path = tmp_path / "list.csv"
    write_list(path, found)
    assert read_labels(path) == {}
    rows = list(csv.reader(path.open(encoding="utf-8-sig")))
    assert rows[0][:3] == ["file", "label", "disagreement"]
    for row, each in zip(rows[1:5], found, strict=False):
        row[1] = each.predictions[0][0]  # as the first run has it
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)
    labels = read_labels(path)
    assert labels == {each.file: each.predictions[0][0] for each in found[:4]}
    checked = check(runs_of(sweep), labels, CPU)
    agree = sum(each.predictions[0][0] == each.predictions[1][0] for each in found[:4])
    assert (checked[0].name, checked[0].right, checked[0].n) == ("source_only bn seed 1", 4, 4)
    assert (checked[1].right, checked[1].interval) == (agree, wilson_interval(agree, 4))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("image,label\n", "has no column 'file'"),
        ("file,label\nx.png,dog\n", "unknown class 'dog'"),
        ("file,label\n", "fill in"),
    ],
)
def test_a_list_that_cannot_be_used(sweep: Path, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(UserError, match=message):
        check(runs_of(sweep), read_labels(tmp_path / "list.csv"), CPU)


def test_a_folder_without_a_table(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no table"):
        best_two(tmp_path)
