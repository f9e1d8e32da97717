"""The report of a folder of runs."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import Any
from urllib.parse import quote

from scipy.stats import t as student

from uan_da.errors import UserError
from uan_da.evaluation.open_set import headline
from uan_da.evaluation.ranking import Scored, rank_validators
from uan_da.evaluation.report import figures
from uan_da.evaluation.report.files import MetricsOf, RunFiles
from uan_da.evaluation.report.page import write_page
from uan_da.files import read_json

KEYS = ("task", "method", "norm", "backbone")
SILENT = ("seed", "description", "published")
"""Keys of a recipe that runs of one group may differ in."""
ROUNDING = 1e-12
"""A mean difference below this is 0."""


@dataclass
class Group:
    """Runs that differ in their seed alone: their accuracies on the target, by selection and seed."""

    data: str
    task: str
    method: str
    norm: str
    backbone: str
    recipe: Mapping[str, str] = field(repr=False)
    """Every key of the recipe but the seed, ``train.optimizer.lr``, and its value as text."""
    seeds: set[int] = field(default_factory=set)
    accuracies: dict[str, dict[int, float]] = field(default_factory=lambda: {"last": {}, "selected": {}, "oracle": {}})
    settings: str = ""
    """The keys that tell it from the others of its task, method, norm and backbone."""
    measure: str = "accuracy"
    """What the accuracies are; the H-score where the target has classes that the source lacks."""

    def cell(self, selection: str) -> str:
        """Mean ± standard deviation in percent; the mean alone of one run."""
        values = [100 * value for value in self.accuracies[selection].values()]
        if len(values) < 2:
            return f"{values[0]:.1f}" if values else "–"
        return f"{mean(values):.1f} ± {stdev(values):.1f}"

    def average(self, selection: str = "last") -> float | None:
        """The mean, None where there is nothing."""
        return mean(self.accuracies[selection].values()) if self.accuracies[selection] else None


def sweep_report(folder: Path, runs: Sequence[Path], metrics_of: MetricsOf) -> Path:
    """Write ``report.html`` about all finished ``runs``: about those of the grid, with its table, where there is the
    ``table.json`` of one in ``folder``.

    Raises:
        UserError: none of them is finished.
    """
    path = folder / "table.json"
    table = read_json(path) if path.is_file() else {}
    runs = [run for run in runs if not table or run.name in table["runs"]]
    finished = [RunFiles(run, metrics_of) for run in runs if (run / "results.json").is_file()]
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
        "runs": _run_rows(folder, finished),
        "ranks": rank_validators(_scored(finished)),
    }
    return write_page(folder / "report.html", "sweep.html", **content)


def group_runs(runs: Sequence[RunFiles]) -> list[Group]:
    """Runs by their recipe without its seed, those of one task together, the best first."""
    groups: dict[tuple[object, ...], Group] = {}
    for run in runs:
        names = {"data": str(run.recipe["dataset"])} | {key: str(run.results[key]) for key in KEYS}
        recipe = _leaves({key: value for key, value in run.recipe.items() if key not in SILENT})
        key = (*names.values(), *sorted(recipe.items()))
        group = groups.setdefault(key, Group(**names, recipe=recipe))  # type: ignore[arg-type]
        seed = int(run.results["seed"])
        group.seeds.add(seed)
        for selection, values in group.accuracies.items():
            domains: dict[str, Any] = run.results["selections"].get(selection, {}).get("domains", {})
            if run.target in domains:
                group.measure, score = headline(domains[run.target])
                values |= {} if score is None else {seed: score}
    for group in groups.values():
        group.settings = _settings(group, [g for g in groups.values() if _names(g) == _names(group)])
    return sorted(groups.values(), key=lambda group: (group.data, group.task, -(group.average() or 0.0)))


def _leaves(value: Any, path: str = "") -> dict[str, str]:
    if isinstance(value, Mapping):
        return {k: v for key, own in value.items() for k, v in _leaves(own, f"{path}.{key}" if path else key).items()}
    return {path: value if isinstance(value, str) else json.dumps(value)}


def _names(group: Group) -> tuple[str, ...]:
    return (group.data, group.task, group.method, group.norm, group.backbone)


def _settings(group: Group, alike: Sequence[Group]) -> str:
    keys = dict.fromkeys(key for other in alike for key in other.recipe)
    several = [key for key in keys if len({other.recipe.get(key) for other in alike}) > 1]
    return " ".join(f"{key}={group.recipe.get(key, '–')}" for key in several)


def _worse_than_source_only(groups: Sequence[Group]) -> list[tuple[Group, float, int]]:
    """Groups that are below ``source_only`` on average over the seeds that both have; by how much, and those seeds."""
    found = []
    for group in groups:
        plain = _source_only_of(group, groups)
        base, own = ({} if plain is None else plain.accuracies["last"]), group.accuracies["last"]
        losses = [base[seed] - own[seed] for seed in own if seed in base]
        if losses and mean(losses) > ROUNDING:
            found.append((group, mean(losses), len(losses)))
    return found


def _source_only_of(group: Group, groups: Sequence[Group]) -> Group | None:
    """``source_only`` by the same recipe; without one, for recipes may give a method keys of its own, the only one with
    the same norm and backbone."""
    known = _names(group)[:2] + _names(group)[3:]
    plain = [g for g in groups if g.method == "source_only" and (g.data, g.task, g.norm, g.backbone) == known]
    same = [g for g in plain if _protocol(g) == _protocol(group)] or plain
    return same[0] if len(same) == 1 else None


def _protocol(group: Group) -> dict[str, str]:
    """The recipe but for how it adapts."""
    return {key: value for key, value in group.recipe.items() if key.partition(".")[0] not in ("method", "init")}


def _figures(groups: Sequence[Group]) -> list[dict[str, str]]:
    tasks = list(dict.fromkeys(group.task for group in groups))
    found = []
    for i, task in enumerate(tasks):
        own = [group for group in groups if group.task == task]
        shown = ["last", *(s for s in ("selected", "oracle") if any(g.accuracies[s] for g in own))]
        series = {s: [_summary(list(g.accuracies[s].values())) for g in own] for s in shown}
        names = [f"{g.method} {g.norm}" + (f" ({row})" if g.settings else "") for row, g in enumerate(own, 1)]
        found.append(_figure(i, task, names, series, " or ".join(dict.fromkeys(group.measure for group in own))))
    return found


def _figures_of_table(table: Mapping[str, Any]) -> list[dict[str, str]]:
    """A figure a task; the rows in the order of the first selection."""
    if not table["rows"]:
        return []
    rows = {selection: {_name(row): row["target"] for row in own} for selection, own in table["rows"].items()}
    names = list(next(iter(rows.values())))
    found = []
    for i, task in enumerate(table["tasks"]):
        series = {s: [own.get(name, {}).get(task) or {} for name in names] for s, own in rows.items()}
        if any(values for summaries in series.values() for values in summaries):
            found.append(_figure(i, task, names, series, table.get("measure", "accuracy")))
    return found


def _name(row: Mapping[str, Any]) -> str:
    return " ".join(value if key in ("method", "norm") else f"{key}={value}" for key, value in row["variant"])


def _figure(
    i: int, task: str, names: Sequence[str], series: Mapping[str, Sequence[Mapping[str, Any]]], measure: str
) -> dict[str, str]:
    """Bars of means, and lines of Student's intervals; each number of ``series`` has ``mean``, ``std`` and ``n``."""
    means = {selection: [each.get("mean") for each in own] for selection, own in series.items()}
    intervals = {selection: [_half_width(each) for each in own] for selection, own in series.items()}
    svg = figures.bars(f"task-{i}", f"Target {measure} on {task}", names, means, f"target {measure}, %", intervals)
    caption = f"{task}: mean {measure} on the target's test images"
    lines = "; lines: the mean's 95 % interval over seeds (Student's t)"
    several = any(width is not None for widths in intervals.values() for width in widths)
    return {"svg": svg, "caption": f"{caption}{lines if several else ''}."}


def _summary(values: Sequence[float]) -> dict[str, Any]:
    if not values:
        return {}
    return {"mean": mean(values), "std": stdev(values) if len(values) > 1 else None, "n": len(values)}


def _half_width(summary: Mapping[str, Any]) -> float | None:
    """Of the 95 % interval of a mean: t₀.₉₇₅(n − 1) · s/√n; None of one number."""
    if summary.get("std") is None:
        return None
    n = summary["n"]
    return float(student.ppf(0.975, n - 1) * summary["std"] / n**0.5)


def _run_rows(folder: Path, runs: Sequence[RunFiles]) -> list[dict[str, Any]]:
    """Each run, where it is, and what it reached at its last epoch; the best first."""
    rows = []
    for run in runs:
        page = run.folder / "report.html"
        link = page if page.is_file() else run.folder
        accuracy = run.results["selections"]["last"]["domains"].get(run.target, {}).get("accuracy")
        place = quote(os.path.relpath(link, folder))
        names = {key: run.results[key] for key in (*KEYS, "seed")}
        rows.append({**names, "name": run.folder.name, "link": place, "accuracy": accuracy})
    return sorted(rows, key=lambda row: (row["task"], -(row["accuracy"] or 0.0), row["seed"]))


def _scored(runs: Sequence[RunFiles]) -> dict[str, list[Scored]]:
    tasks: dict[str, list[Scored]] = {}
    for run in runs:
        rows = [row for row in run.metrics if "validators" in row and row["domains"].get(run.target) is not None]
        own = [Scored(row["validators"], row["domains"][run.target]) for row in rows]
        tasks.setdefault(f"{run.recipe['dataset']} {run.recipe['task']}", []).extend(own)
    return tasks
