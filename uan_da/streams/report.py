"""The report of a grid of streams: errors, collapses, and the error over time."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from uan_da.evaluation.report.page import write_page
from uan_da.evaluation.report.svg import COLORS, LINES, drawing
from uan_da.streams.cells import Cell, read
from uan_da.streams.scores import ALL

COLLAPSED = "*"
"""Behind a figure: the method ended above the source."""


def pivot(table: pd.DataFrame) -> pd.DataFrame:
    """The error over all domains in percent, as text: one row per method, one column per setting and batch size.

    Several seeds give mean ± standard deviation. A star marks a method that collapsed on any seed.
    """
    whole = table[table["domain"] == ALL]
    methods = list(dict.fromkeys(whole["method"]))
    shown: dict[str, list[str]] = {}
    for setting, batch in dict.fromkeys(zip(whole["setting"], whole["batch"], strict=True)):
        here = whole[(whole["setting"] == setting) & (whole["batch"] == batch)]
        shown[f"{setting} {batch}"] = [_cell(here[here["method"] == method]) for method in methods]
    return pd.DataFrame(shown, index=methods)


def _cell(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "–"
    error = 100 * rows["error"]
    deviation = f" ± {error.std():.1f}" if len(error) > 1 else ""
    return f"{error.mean():.1f}{deviation}{COLLAPSED if rows['collapsed'].any() else ''}"


def write_report(folder: Path, table: pd.DataFrame, cells: Sequence[Cell]) -> Path:
    """``report.html`` in ``folder``: one self-contained page."""
    errors = pivot(table)
    per_domain = table[table["domain"] != ALL].pivot_table(
        index=["setting", "batch", "domain"], columns="method", values="error", sort=False
    )
    return write_page(
        folder / "report.html",
        "stream.html",
        heads=list(errors.columns),
        errors=[(name, list(row)) for name, row in errors.iterrows()],
        costs=_costs(table),
        methods=list(per_domain.columns),
        domains=[(*key, list(row)) for key, row in zip(per_domain.index, per_domain.to_numpy(), strict=True)],
        curves=_curves(folder, cells),
    )


def _costs(table: pd.DataFrame) -> list[tuple[str, str, str, str, str]]:
    """Of each method: forwards and backwards an image, milliseconds, bytes kept."""
    whole = table[(table["domain"] == ALL) & (table["ms_per_image"] > 0)]
    return [
        (
            str(name),
            f"{rows['forwards'].iloc[0]:g}",
            f"{rows['backwards'].iloc[0]:g}",
            f"{rows['ms_per_image'].mean():.3f}",
            f"{int(rows['stored_bytes'].max()):,}",
        )
        for name, rows in whole.groupby("method", sort=False)
    ]


def _curves(folder: Path, cells: Sequence[Cell]) -> list[tuple[str, str]]:
    """The error over time of the first seed: a figure a setting and batch."""
    figures: dict[tuple[str, int], list[Cell]] = {}
    for cell in cells:
        if cell.stream.seed == cells[0].stream.seed:
            figures.setdefault((cell.stream.setting, cell.batch), []).append(cell)
    return [
        (f"{setting}, batch {batch}", _figure(folder, f"{setting}-{batch}", own))
        for (setting, batch), own in figures.items()
    ]


def _figure(folder: Path, name: str, cells: Sequence[Cell]) -> str:
    with drawing(f"stream-{name}", f"Error over the stream, {name}", width=7.0, height=3.2) as figure:
        (axes,) = figure.axes()
        for number, cell in enumerate(cells):
            result = read(cell.file(folder))
            if result is None or not result["curve"]:
                continue
            seen, errors = zip(*result["curve"], strict=True)
            style = LINES[number // len(COLORS) % len(LINES)]
            percent = [100 * error for error in errors]
            axes.plot(seen, percent, color=COLORS[number % len(COLORS)], linestyle=style, label=cell.heads["method"])
        axes.set_xlabel("images predicted")
        axes.set_ylabel("error (%)")
        axes.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return figure.svg
