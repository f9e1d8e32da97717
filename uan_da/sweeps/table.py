"""The table of a sweep: means over seeds, gains over ``source_only``, and paired differences to a reference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.sweeps.grid import BASELINE, is_of_adaptation
from uan_da.sweeps.results import SELECTIONS, Result
from uan_da.sweeps.statistics import Difference, Summary, holm, paired_difference, summarize

AVERAGE = "average"
Variant = tuple[tuple[str, str], ...]
"""What the runs of a row have in common: method, norm and the grid's other axes."""


@dataclass(frozen=True)
class Row:
    """One variant under one selection. Each mapping is by task, and by :data:`AVERAGE`, the mean over all tasks of each
    seed that has them all."""

    variant: Variant
    target: Mapping[str, Summary | None]
    source: Mapping[str, Summary | None]
    gain: Mapping[str, Difference | None]
    """Target accuracy minus that of ``source_only`` with the same norm and seed; empty of ``source_only`` itself."""
    difference: Difference | None
    """Average target accuracy minus the reference's; None of the reference itself."""
    scores: Mapping[str, Summary | None] = field(default_factory=dict)
    """What needs no target label, by name (see :class:`uan_da.sweeps.results.Result`), over all tasks and seeds."""

    @property
    def name(self) -> str:
        """As the table and ``--reference`` spell it."""
        return variant_name(self.variant)


@dataclass(frozen=True)
class Table:
    """All of a sweep that is done, by selection, the best average target accuracy first."""

    tasks: Sequence[str]
    axes: Sequence[str]
    reference: str
    validators: Sequence[str]
    rows: Mapping[str, Sequence[Row]]
    done: int
    left: int
    failed: Sequence[Result]
    ranked_by: str | None = None
    """The recipe's validator where a target has no labels, and so no accuracy to rank by."""
    measure: str = "accuracy"
    """Of the target: see :class:`uan_da.sweeps.results.Result`."""


def variant_name(variant: Variant) -> str:
    """``dann bn train.optimizer.lr=1e-3``."""
    return " ".join(value if key in ("method", "norm") else f"{key}={value}" for key, value in variant)


def make_table(results: Sequence[Result], axes: Sequence[str], reference: str | None = None) -> Table:
    """The table of the runs that are done.

    Args:
        results: every run of the grid.
        axes: its keys beside task, method, norm and seed.
        reference: the row that the others are compared with, as the table names it; ``source_only`` with the grid's
            first norm where None.

    Raises:
        UserError: no row is called ``reference``.
    """
    names = [variant_name(variant) for variant in dict.fromkeys(result.variant for result in results)]
    chosen = (
        next(name for name in names if name.split()[0] == BASELINE)
        if reference is None
        else " ".join(reference.split())
    )
    if chosen not in names:
        raise UserError(f"--reference: {unknown('row', chosen, names)}")
    done = [result for result in results if result.status == "done"]
    tasks = list(dict.fromkeys(result.settings["task"] for result in results))
    known = [{s for of in (r.target, r.source) for s, share in of.items() if share is not None} for r in done]
    kept = [selection for selection in SELECTIONS if any(selection in own for own in known)]
    validators = list(dict.fromkeys(result.validator for result in done))
    ranked_by = validators[0] if done and _unlabelled(done) else None
    rows = {selection: _rows(done, selection, tasks, chosen, ranked_by) for selection in kept}
    failed = [result for result in results if result.status == "failed"]
    left = sum(result.status == "left" for result in results)
    measure = " or ".join(dict.fromkeys(result.measure for result in done)) or "accuracy"
    return Table(tasks, axes, chosen, validators, rows, len(done), left, failed, ranked_by, measure)


def _unlabelled(done: Sequence[Result]) -> set[str]:
    """The tasks whose target has no labels."""
    labelled = {r.settings["task"] for r in done if any(share is not None for share in r.target.values())}
    return {r.settings["task"] for r in done} - labelled


Numbers = Mapping[str, Mapping[str, float]]
"""Task, or :data:`AVERAGE`, → seed → accuracy."""


def _rows(
    done: Sequence[Result], selection: str, tasks: Sequence[str], reference: str, ranked_by: str | None
) -> list[Row]:
    variants = list(dict.fromkeys(result.variant for result in done))
    target = {v: _numbers([r for r in done if r.variant == v], "target", selection, tasks) for v in variants}
    source = {v: _numbers([r for r in done if r.variant == v], "source", selection, tasks) for v in variants}
    others = next((target[v] for v in variants if variant_name(v) == reference), {})
    rows = [
        Row(
            v,
            _means(target[v]),
            _means(source[v]),
            _gain(v, target, tasks),
            _compare(target[v], others, AVERAGE),
            _scores([r for r in done if r.variant == v], selection),
        )
        for v in variants
    ]
    rows = [replace(row, difference=None) if row.name == reference else row for row in rows]
    corrected = holm([row.difference.p if row.difference else None for row in rows])
    rows = [_corrected(row, p) for row, p in zip(rows, corrected, strict=True)]
    return sorted(rows, key=lambda row: _rank(row, ranked_by), reverse=True)


def _scores(results: Sequence[Result], selection: str) -> dict[str, Summary | None]:
    found: dict[str, list[float]] = {}
    for result in results:
        for name, score in result.scores.get(selection, {}).items():
            found.setdefault(name, []).extend([] if score is None else [score])
    return {name: summarize(values) for name, values in found.items()}


def _numbers(results: Sequence[Result], what: str, selection: str, tasks: Sequence[str]) -> Numbers:
    numbers: dict[str, dict[str, float]] = {task: {} for task in tasks}
    for result in results:
        accuracy = getattr(result, what).get(selection)
        if accuracy is not None:
            numbers[result.settings["task"]][result.settings["seed"]] = accuracy
    complete = [seed for seed in numbers[tasks[0]] if all(seed in numbers[task] for task in tasks)]
    numbers[AVERAGE] = {seed: fmean(numbers[task][seed] for task in tasks) for seed in complete}
    return numbers


def _means(numbers: Numbers) -> dict[str, Summary | None]:
    return {task: summarize(list(by_seed.values())) for task, by_seed in numbers.items()}


def _compare(ours: Numbers, others: Numbers, task: str) -> Difference | None:
    seeds = [seed for seed in ours[task] if seed in others.get(task, {})]
    return paired_difference([ours[task][seed] for seed in seeds], [others[task][seed] for seed in seeds])


def _gain(variant: Variant, target: Mapping[Variant, Numbers], tasks: Sequence[str]) -> dict[str, Difference | None]:
    if dict(variant)["method"] == BASELINE:
        return {}
    plain = next((numbers for other, numbers in target.items() if _is_baseline_of(other, variant)), {})
    return {task: _compare(target[variant], plain, task) for task in [*tasks, AVERAGE]}


def _is_baseline_of(other: Variant, variant: Variant) -> bool:
    """Whether ``other`` is ``variant`` with ``source_only`` in place of its method, that method's options and start."""
    rest = [{k: value for k, value in v if k != "method" and not is_of_adaptation(k)} for v in (other, variant)]
    return dict(other)["method"] == BASELINE and rest[0] == rest[1]


def _corrected(row: Row, p: float | None) -> Row:
    return row if row.difference is None else replace(row, difference=replace(row.difference, corrected=p))


def _rank(row: Row, ranked_by: str | None) -> float:
    """A variant that is not done on all tasks, or has no score, goes below the others."""
    average = row.target[AVERAGE] if ranked_by is None else row.scores.get(ranked_by)
    return average.mean if average else float("-inf")


def negative_transfer(table: Table) -> list[tuple[str, str, str, Difference]]:
    """Selection, row, task and gain of every adaptation that made the target worse on average over the seeds."""
    return [
        (selection, row.name, task, gain)
        for selection, rows in table.rows.items()
        for row in rows
        for task, gain in row.gain.items()
        if gain is not None and gain.mean < 0 and not (task == AVERAGE and len(table.tasks) == 1)
    ]


def to_dict(value: Any) -> Any:
    """A table, or a part of it, as JSON has it."""
    if hasattr(value, "__dataclass_fields__"):
        return {name: to_dict(getattr(value, name)) for name in value.__dataclass_fields__}
    if isinstance(value, Mapping):
        return {key: to_dict(item) for key, item in value.items()}
    return [to_dict(item) for item in value] if isinstance(value, list | tuple) else value
