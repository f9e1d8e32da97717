"""The runs of a sweep as rows of numbers."""

import csv
import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from uan_da.evaluation.open_set import headline
from uan_da.files import read_bytes, read_json
from uan_da.spreadsheet import csv_cell
from uan_da.sweeps.grid import Cell
from uan_da.sweeps.jobs import run_folder
from uan_da.training.recipe_file import is_lengthened
from uan_da.training.run import Run

SELECTIONS = ("last", "selected", "oracle")


@dataclass(frozen=True)
class Result:
    """A run of the grid, finished or not; accuracies are shares, None where no image has a label."""

    run_id: str
    settings: Mapping[str, str]
    status: Literal["done", "failed", "left"]
    target: Mapping[str, float | None] = field(default_factory=dict)
    """By selection; a selection that the recipe did not keep is not there."""
    source: Mapping[str, float | None] = field(default_factory=dict)
    """The mean over the sources."""
    epoch: Mapping[str, int] = field(default_factory=dict)
    validator: str = ""
    scores: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """By selection and validator: what needs no target label, with the mean ``confidence`` on the target and the
    ``largest_class``, the greatest share of its images that one class is predicted for."""
    seconds: float | None = None
    error: str = ""
    measure: str = "accuracy"
    """What ``target`` is: the accuracy, or the H-score where a target has classes that the source lacks."""

    @property
    def variant(self) -> tuple[tuple[str, str], ...]:
        """All that runs over tasks and seeds have in common."""
        return tuple((key, value) for key, value in self.settings.items() if key not in ("task", "seed"))


def read_result(cell: Cell, sweep: Path) -> Result:
    """What the folder of a cell's run says of it."""
    folder = run_folder(sweep, cell.run_id)
    if (folder / "done").is_file():
        return _done(cell, folder)
    path = folder / "error.json"
    error = read_json(path) if path.is_file() else {}
    return Result(cell.run_id, cell.settings, "failed" if error else "left", error=error.get("error", ""))


def _done(cell: Cell, folder: Path) -> Result:
    run = Run(folder)
    if run.recipe_file.is_file() and is_lengthened(read_bytes(run.recipe_file)):
        told = "it was continued to more epochs than this table's: move it elsewhere, and compare again"
        return Result(cell.run_id, cell.settings, "failed", error=told)
    selections = {name: chosen for name, chosen in run.results["selections"].items() if chosen}
    domains = {name: chosen["domains"] for name, chosen in selections.items()}
    target = cell.recipe.task.target
    validators = {row["epoch"]: row.get("validators", {}) for row in run.metrics()}
    return Result(
        cell.run_id,
        cell.settings,
        "done",
        {name: headline(own[target])[1] for name, own in domains.items()},
        {name: _mean([d["accuracy"] for d in own.values() if d["role"] == "source"]) for name, own in domains.items()},
        {name: chosen["epoch"] for name, chosen in selections.items()},
        selections["selected"]["validator"],
        {
            name: dict(validators.get(chosen["epoch"], {})) | _unlabelled(chosen["domains"][target])
            for name, chosen in selections.items()
        },
        run.timing["train_seconds"],
        measure=headline(domains["last"][target])[0],
    )


def _unlabelled(numbers: Mapping[str, Any]) -> dict[str, float | None]:
    """What a domain's numbers say without labels; empty of runs that did not keep it."""
    shares = numbers.get("class_shares")
    return {"confidence": numbers["confidence"], "largest_class": max(shares)} if shares else {}


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known else None


def write_csv(path: Path, results: Sequence[Result]) -> None:
    """``results.csv``: a row for every run of the grid, done or not, in one piece."""
    text = io.StringIO()
    keys = list(results[0].settings)
    numbers = [f"{what}_{selection}" for selection in SELECTIONS for what in ("target", "source", "epoch")]
    scored = list(dict.fromkeys(name for result in results for of in result.scores.values() for name in of))
    scores = [(name, selection) for selection in SELECTIONS[:2] for name in scored]
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["run", *keys, "status", *numbers, "validator", *map("_".join, scores), "train_seconds", "error"])
    for result in results:
        by = {"target": result.target, "source": result.source, "epoch": result.epoch}
        values = [by[what].get(selection) for selection in SELECTIONS for what in ("target", "source", "epoch")]
        own = [result.scores.get(selection, {}).get(name) for name, selection in scores]
        row = [result.run_id, *result.settings.values(), result.status, *values]
        table.writerow(
            [
                "" if value is None else csv_cell(value)
                for value in [*row, result.validator, *own, result.seconds, result.error]
            ]
        )
    write_text(path, text.getvalue())


def write_text(path: Path, text: str) -> None:
    """Write a file in one piece: a reader finds the old one or the new, also where two processes write it."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
