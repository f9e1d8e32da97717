"""The report of a folder of runs."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from uan_da.errors import UserError
from uan_da.evaluation.ranking import Scored, rank_validators
from uan_da.evaluation.report import figures
from uan_da.evaluation.report.files import RunFiles
from uan_da.evaluation.report.page import write_page

KEYS = ("task", "method", "norm", "backbone")


@dataclass
class Group:
    """Runs that differ in their seed alone: their accuracies on the target, by selection."""

    data: str
    task: str
    method: str
    norm: str
    backbone: str
    seeds: list[int] = field(default_factory=list)
    accuracies: dict[str, list[float]] = field(default_factory=lambda: {"last": [], "selected": [], "oracle": []})

    def cell(self, selection: str) -> str:
        """Mean ± standard deviation in percent; the mean alone of one run."""
        values = [100 * value for value in self.accuracies[selection]]
        if len(values) < 2:
            return f"{values[0]:.1f}" if values else "–"
        return f"{mean(values):.1f} ± {stdev(values):.1f}"

    def average(self, selection: str = "last") -> float | None:
        """The mean, None where there is nothing."""
        return mean(self.accuracies[selection]) if self.accuracies[selection] else None


def sweep_report(folder: Path, runs: Sequence[Path]) -> Path:
    """Write ``report.html`` about all finished ``runs``: about those of the grid, with its table, where there is the
    ``table.json`` of one in ``folder``.

    Raises:
        UserError: none of them is finished.
    """
    path = folder / "table.json"
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    runs = [run for run in runs if not table or run.name in table["runs"]]
    finished = [RunFiles(run) for run in runs if (run / "results.json").is_file()]
    if not finished:
        raise UserError(f"{folder}: none of its {len(runs)} runs is finished")
    groups = [] if table else group_runs(finished)
    content = {
        "folder": folder,
        "table": table,
        "groups": groups,
        "finished": len(finished),
        "unfinished": (len(table["runs"]) if table else len(runs)) - len(finished),
        "hurt": _worse_than_source_only(groups),
        "figures": _figures_of_table(table) if table else _figures(groups),
        "ranks": rank_validators(_scored(finished)),
    }
    return write_page(folder / "report.html", "sweep.html", **content)


def group_runs(runs: Sequence[RunFiles]) -> list[Group]:
    """Runs by data set, task, method, norm and backbone, those of one task together, the best first."""
    groups: dict[tuple[str, ...], Group] = {}
    for run in runs:
        names = {"data": str(run.recipe["dataset"])} | {k: str(run.results[k]) for k in KEYS}
        group = groups.setdefault(tuple(names.values()), Group(**names))  # type: ignore[arg-type]
        group.seeds.append(int(run.results["seed"]))
        for selection, values in group.accuracies.items():
            domains: dict[str, Any] = run.results["selections"].get(selection, {}).get("domains", {})
            accuracy = domains.get(run.target, {}).get("accuracy")
            values += [] if accuracy is None else [accuracy]
    return sorted(groups.values(), key=lambda group: (group.data, group.task, -(group.average() or 0.0)))


def _worse_than_source_only(groups: Sequence[Group]) -> list[tuple[Group, float]]:
    """Groups whose mean is below that of ``source_only`` with the same norm and backbone, and by how much."""
    plain = {(g.data, g.task, g.norm, g.backbone): g.average() for g in groups if g.method == "source_only"}
    found = []
    for group in groups:
        base, own = plain.get((group.data, group.task, group.norm, group.backbone)), group.average()
        if base is not None and own is not None and own < base:
            found.append((group, base - own))
    return found


def _figures(groups: Sequence[Group]) -> list[dict[str, str]]:
    tasks = list(dict.fromkeys(group.task for group in groups))
    found = []
    for i, task in enumerate(tasks):
        own = [group for group in groups if group.task == task]
        series = {"last": [g.average() for g in own]}
        series |= {s: [g.average(s) for g in own] for s in ("selected", "oracle") if any(g.accuracies[s] for g in own)}
        found.append(_figure(i, task, [f"{group.method} {group.norm}" for group in own], series))
    return found


def _figures_of_table(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """A figure a task; the rows in the order of the first selection."""
    if not table["rows"]:
        return []
    rows = {selection: {_name(row): row["target"] for row in own} for selection, own in table["rows"].items()}
    names = list(next(iter(rows.values())))
    found = []
    for i, task in enumerate(table["tasks"]):
        means = {s: [(own.get(name, {}).get(task) or {}).get("mean") for name in names] for s, own in rows.items()}
        found.append(_figure(i, task, names, means))
    return found


def _name(row: Mapping[str, Any]) -> str:
    return " ".join(value for _, value in row["variant"])


def _figure(i: int, task: str, names: Sequence[str], series: Mapping[str, Sequence[float | None]]) -> dict[str, str]:
    svg = figures.bars(f"task-{i}", f"Target accuracy on {task}", names, series, "target accuracy, %")
    return {"svg": svg, "caption": f"{task}: mean accuracy on the target's test images."}


def _scored(runs: Sequence[RunFiles]) -> dict[str, list[Scored]]:
    tasks: dict[str, list[Scored]] = {}
    for run in runs:
        rows = [row for row in run.metrics if "validators" in row and row["domains"].get(run.target) is not None]
        own = [Scored(row["validators"], row["domains"][run.target]) for row in rows]
        tasks.setdefault(f"{run.recipe['dataset']} {run.recipe['task']}", []).extend(own)
    return tasks
