"""Which images of a target to label first, and what a few labels say of each run."""

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from uan_da.data.image_files import ImageFiles
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.evaluation.metrics import wilson_interval
from uan_da.names import unknown
from uan_da.spreadsheet import csv_cell, meant
from uan_da.sweeps.jobs import run_folder
from uan_da.training.run import Run
from uan_da.training.trained import Trained

COLUMNS = ("file", "label", "disagreement", "class_1", "confidence_1", "class_2", "confidence_2")


@dataclass(frozen=True)
class Disagreement:
    """An image, the class and confidence that each of two networks gives it, and the total variation distance
    ½ Σ |p − q| of their probabilities."""

    file: Path
    distance: float
    predictions: tuple[tuple[str, float], tuple[str, float]]


@dataclass(frozen=True)
class Checked:
    """A run on the images that were labelled."""

    name: str
    right: int
    n: int
    interval: tuple[float, float]
    """95 % Wilson."""


def best_two(sweep: Path) -> tuple[Run, Run]:
    """The runs of the first seed of the two best rows of a sweep's table.

    Raises:
        UserError: there is no table, or it has fewer than two rows.
    """
    best = _table(sweep).get("best", [])
    if len(best) < 2:
        raise UserError(f"{sweep}: its table has fewer than two rows: there is nothing to disagree")
    return Run.open(run_folder(sweep, best[0])), Run.open(run_folder(sweep, best[1]))


def runs_of(sweep: Path) -> list[Run]:
    """The finished runs of a sweep's table."""
    folders = [run_folder(sweep, run_id) for run_id in _table(sweep)["runs"]]
    return [Run.open(folder) for folder in folders if (folder / "done").is_file()]


def disagreements(first: Run, second: Run, device: torch.device) -> list[Disagreement]:
    """All images of the target, those first on which two runs differ most; no label is read.

    Raises:
        UserError: the target is no image files, or one of them cannot be read.
    """
    files = _target_files(first)
    loaded = [Trained.load(run, "last", device) for run in (first, second)]
    predictions = [trained.classify(files) for trained in loaded]
    p, q = (prediction.probabilities.double() for prediction in predictions)
    distances = (p - q).abs().sum(1) / 2
    found = [
        Disagreement(path, float(distances[row]), (_said(loaded[0], p[row]), _said(loaded[1], q[row])))
        for row, path in enumerate(files.paths)
    ]
    return sorted(found, key=lambda each: (each.predictions[0][0] == each.predictions[1][0], -each.distance))


def check(runs: Sequence[Run], labels: Mapping[Path, str], device: torch.device) -> list[Checked]:
    """Each run on the images that ``labels`` has the class of, the best first.

    Raises:
        UserError: no image has a label, a class is not the runs', or an image cannot be read.
    """
    if not labels:
        raise UserError("no image has a label: fill in the column 'label'")
    paths, found = list(labels), []
    for run in runs:
        trained = Trained.load(run, "last", device)
        for label in labels.values():
            if label not in trained.classes:
                raise UserError(unknown("class", label, trained.classes))
        predicted = trained.classify(ImageFiles(paths, [-1] * len(paths))).classes.tolist()
        right = sum(trained.classes[c] == labels[path] for c, path in zip(predicted, paths, strict=True))
        recipe = run.recipe
        name = f"{recipe.method.name} {recipe.norm.name} seed {recipe.seed}"
        found.append(Checked(name, right, len(paths), wilson_interval(right, len(paths))))
    return sorted(found, key=lambda each: -each.right)


def write_list(path: Path, found: Sequence[Disagreement]) -> None:
    """A CSV file, with a column ``label`` to fill in."""
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # the mark tells spreadsheets that it is UTF-8
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(COLUMNS)
        for each in found:
            cells = [cell for name, confidence in each.predictions for cell in (csv_cell(name), f"{confidence:.4f}")]
            rows.writerow([csv_cell(str(each.file)), "", f"{each.distance:.4f}", *cells])


def read_labels(path: Path) -> dict[Path, str]:
    """The images of such a file whose ``label`` is filled in.

    Raises:
        UserError: it cannot be read, or lacks a column.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            missing = [name for name in ("file", "label") if name not in (rows.fieldnames or ())]
            if missing:
                raise UserError(f"{path}: has no column {missing[0]!r}")
            filled = ((meant(row["file"]), meant(row["label"])) for row in rows if (row["label"] or "").strip())
            return {Path(str(file)): str(label).strip() for file, label in filled}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: cannot be read: {error}") from None


def _said(trained: Trained, probabilities: torch.Tensor) -> tuple[str, float]:
    return trained.classes[int(probabilities.argmax())], float(probabilities.max())


def _target_files(run: Run) -> ImageFiles:
    recipe = run.recipe
    dataset = open_dataset(recipe.dataset, recipe.trust)
    paths = []
    for split in ("train", "test"):
        part = dataset.load(recipe.task.target, split)
        if not isinstance(part, ImageFiles):
            raise UserError(f"dataset {recipe.dataset!r}: the target {recipe.task.target!r} is no image files to name")
        paths += part.paths
    unique = list(dict.fromkeys(paths))
    return ImageFiles(unique, [-1] * len(unique))


def _table(sweep: Path) -> dict[str, list[str]]:
    path = sweep / "table.json"
    if not path.is_file():
        raise UserError(
            f"{sweep}: holds no table of a comparison (no table.json in it); expected the --out of uan-da compare"
        )
    content: dict[str, list[str]] = json.loads(path.read_text(encoding="utf-8"))
    return content
