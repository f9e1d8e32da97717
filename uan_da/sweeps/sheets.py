"""A table as sheets of text, which the terminal, Markdown, LaTeX and the report all print."""

from collections.abc import Sequence
from statistics import fmean

from uan_da.recipe.published import Published
from uan_da.sweeps.sheet import Sheet
from uan_da.sweeps.statistics import Difference, Summary
from uan_da.sweeps.table import AVERAGE, Row, Table, negative_transfer

NONE = "–"
TITLES = {
    "last": "last epoch",
    "selected": "selected without target labels, by {validators}",
    "oracle": "oracle: selected on the target's test labels, an upper bound",
}


def sheets(table: Table, published: Sequence[Published] = ()) -> list[Sheet]:
    """Target accuracy by selection; source accuracy by selection and task; differences to the reference; figures of
    others."""
    of_target = _target if table.ranked_by is None else _unlabelled
    found = [of_target(table, selection) for selection in table.rows]
    if len(table.tasks) > 1:
        found += [_source(table, selection) for selection in table.rows]
    if any(row.difference for rows in table.rows.values() for row in rows):
        found.append(_differences(table))
    return found + ([_published(table, published)] if published else [])


def _title(table: Table, selection: str) -> str:
    return TITLES[selection].format(validators=", ".join(table.validators))


def _head(table: Table) -> list[str]:
    return ["method", "norm", *table.axes]


def _names(row: Row) -> list[str]:
    return [value for _, value in row.variant]


def _columns(table: Table) -> list[str]:
    """The tasks, and their average where there are several."""
    return [*table.tasks, AVERAGE] if len(table.tasks) > 1 else list(table.tasks)


def _target(table: Table, selection: str) -> Sheet:
    columns = _columns(table)
    head = ["", *_head(table), "seeds", *columns, "source", "gain over source_only", "95 % interval"]
    rows = []
    for rank, row in enumerate(table.rows[selection], 1):
        gain = row.gain.get(AVERAGE)
        means = [mean(row.target[column]) for column in columns]
        rows.append(
            [str(rank), *_names(row), seeds(row), *means, mean(row.source[AVERAGE]), marked(gain), interval(gain)]
        )
    return Sheet(f"target {table.measure}, % ({_title(table, selection)})", head, rows, 1 + len(_head(table)))


def _unlabelled(table: Table, selection: str) -> Sheet:
    """Of a target without labels: the score that ranks the rows, and what a reader can judge it by."""
    by = str(table.ranked_by)
    rows = [
        [
            str(rank),
            *_names(row),
            seeds(row),
            number(row.scores.get(by)),
            mean(row.scores.get("confidence")),
            mean(row.scores.get("largest_class")),
            mean(row.source[AVERAGE]),
        ]
        for rank, row in enumerate(table.rows[selection], 1)
    ]
    head = ["", *_head(table), "seeds", by, "confidence, %", "largest class, %", "source, %"]
    notes = [
        f"ranked by {by}, higher is better; confidence: the mean on the target; largest class: the share of the "
        "target's images that one class gets, near 100 where a network has collapsed; source: accuracy"
    ]
    title = f"no target labels: ranked by {by} ({_title(table, selection)})"
    return Sheet(title, head, rows, 1 + len(_head(table)), notes)


def _source(table: Table, selection: str) -> Sheet:
    head = [*_head(table), "seeds", *_columns(table)]
    rows = [
        [*_names(row), seeds(row), *(mean(row.source[column]) for column in _columns(table))]
        for row in table.rows[selection]
    ]
    return Sheet(f"source accuracy, % ({_title(table, selection)})", head, rows, len(_head(table)))


def _differences(table: Table) -> Sheet:
    head = ["selection", *_head(table), "pairs", "difference", "95 % interval", "p", "p (Holm)"]
    rows = [
        [selection, *_names(row), str(d.n), points(d), interval(d), p_value(d.p), p_value(d.corrected)]
        for selection, of_selection in table.rows.items()
        for row in of_selection
        if (d := row.difference)
    ]
    notes = [
        "paired over seeds; Student's t, two-sided; Holm's correction over the rows of a selection",
        "± is the deviation over seeds: all runs are measured on the same test images",
    ]
    return Sheet(
        f"target {table.measure} minus that of {table.reference}, points", head, rows, 1 + len(_head(table)), notes
    )


def _published(table: Table, published: Sequence[Published]) -> Sheet:
    """A row for all figures of one method, source and protocol."""
    rows: dict[tuple[str, ...], dict[str, float]] = {}
    for figure in published:
        key = (figure.method, figure.norm or NONE, "oracle" if figure.oracle else NONE, figure.source, figure.protocol)
        rows.setdefault(key, {})[str(figure.task)] = figure.accuracy
    for by_task in rows.values():
        if all(task in by_task for task in table.tasks):
            by_task[AVERAGE] = fmean(by_task[task] for task in table.tasks)
    columns = _columns(table)
    head = ["method", "norm", "selection", "source", "protocol", *columns]
    cells = [[*key, *(f"{own[c]:.1f}" if c in own else NONE for c in columns)] for key, own in rows.items()]
    note = "oracle: the checkpoint was chosen by target labels"
    return Sheet("published by others, target accuracy, %: other protocols, not ours", head, cells, 5, [note])


def warnings(table: Table) -> list[str]:
    """A line for every target without labels, adaptation that made the target worse, and run that failed."""
    lines = [
        f"{task}: the target's test images have no labels, so its accuracy is unknown and {table.ranked_by} ranks the "
        "rows; it can be wrong (docs/evaluation.md). A few labels help: uan-da label-first says of which images"
        for task in _unknown(table)
    ]
    lines += [
        f"negative transfer ({selection}): {name} on {task}: {points(gain)} points"
        + (f" {interval(gain)}" if gain.interval else "")
        + _doubt(gain)
        for selection, name, task, gain in negative_transfer(table)
    ]
    return lines + [f"failed: {' '.join(r.settings.values())}: {r.error} (runs/{r.run_id})" for r in table.failed]


def _unknown(table: Table) -> list[str]:
    """Tasks that are done on the sources alone."""
    rows = [row for rows in table.rows.values() for row in rows]
    return [task for task in table.tasks if any(r.source[task] for r in rows) and not any(r.target[task] for r in rows)]


def _doubt(gain: Difference) -> str:
    if gain.interval is None:
        return ", one seed" if gain.n == 1 else ", equal on all seeds"
    return "" if gain.clear else ", within the noise of the seeds"


def mean(summary: Summary | None) -> str:
    """``93.7 ± 1.1``."""
    if summary is None:
        return NONE
    deviation = "" if summary.std is None else f" ± {100 * summary.std:.1f}"
    return f"{100 * summary.mean:.1f}{deviation}"


def number(summary: Summary | None) -> str:
    """``-0.213 ± 0.014``."""
    if summary is None:
        return NONE
    deviation = "" if summary.std is None else f" ± {summary.std:.3f}"
    return f"{summary.mean:.3f}{deviation}"


def seeds(row: Row) -> str:
    """Their number, of the tasks that have one: ``5``, or ``3–5``."""
    known = row.target if any(row.target.values()) else row.source
    counts = sorted({summary.n for task, summary in known.items() if summary and task != AVERAGE})
    return "–".join(map(str, dict.fromkeys([counts[0], counts[-1]]))) if counts else "0"


def points(difference: Difference | None) -> str:
    """``+3.2``."""
    return NONE if difference is None else f"{100 * difference.mean:+.1f}"


def marked(gain: Difference | None) -> str:
    """The same, with a mark where the target got worse: ``-3.2 ▼``."""
    return points(gain) + (" ▼" if gain and gain.mean < 0 else "")


def interval(difference: Difference | None) -> str:
    """``[+1.0, +5.4]``."""
    if difference is None or difference.interval is None:
        return NONE
    return f"[{100 * difference.interval[0]:+.1f}, {100 * difference.interval[1]:+.1f}]"


def p_value(p: float | None) -> str:
    """Three decimals."""
    return NONE if p is None else "<0.001" if p < 0.001 else f"{p:.3f}"
