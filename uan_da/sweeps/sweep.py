"""The folder of a sweep: what is done in it, and the files about all of it."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from uan_da.evaluation.report import sweep_report
from uan_da.sweeps.formats import latex, markdown
from uan_da.sweeps.grid import BASELINE, Cell, Grid
from uan_da.sweeps.jobs import Event, Job, run_folder
from uan_da.sweeps.results import Result, read_result, write_csv, write_text
from uan_da.sweeps.sheet import Sheet
from uan_da.sweeps.sheets import sheets, warnings
from uan_da.sweeps.table import Table, make_table, to_dict
from uan_da.sweeps.work import TrainingJob
from uan_da.training.run import metrics_of


@dataclass(frozen=True)
class Sweep:
    """A grid in its folder. A run of it is done once its own folder says so: nothing else is remembered."""

    grid: Grid
    folder: Path
    reference: str | None = None
    _done: dict[str, Result] = field(default_factory=dict, repr=False)
    """What is done stays as it is, and is read once."""

    def results(self) -> list[Result]:
        """Every run of the grid, as it stands."""
        found = [self._done.get(cell.run_id) or read_result(cell, self.folder) for cell in self.grid.cells]
        self._done.update({result.run_id: result for result in found if result.status == "done"})
        return found

    def left(self) -> list[Cell]:
        """What is not done yet, in the order to train it; runs that failed are tried again.

        Of a seed the baselines come last: they are short, and the end of a sweep does not wait long for its last run.
        """
        left = [cell for cell in self.grid.cells if not (run_folder(self.folder, cell.run_id) / "done").is_file()]
        seeds = list(dict.fromkeys(cell.settings["seed"] for cell in left))
        return sorted(left, key=lambda c: (seeds.index(c.settings["seed"]), c.settings["method"] == BASELINE))

    def job(self, cell: Cell) -> Job:
        """The cell, for an executor."""
        return TrainingJob(cell.run_id, self.folder.absolute(), cell.recipe.to_dict())

    def table(self) -> Table:
        """Of what is done.

        Raises:
            UserError: the grid has no row like ``reference``.
        """
        return make_table(self.results(), self.grid.axes, self.reference)

    def sheets(self, table: Table) -> list[Sheet]:
        """What is printed of ``table``."""
        return sheets(table, self.grid.published)

    def note(self, event: Event) -> None:
        """Keep what a run that failed told, and bring ``results.csv`` up to date when one ends."""
        if event.kind == "failed":
            folder = run_folder(self.folder, event.run_id)
            folder.mkdir(parents=True, exist_ok=True)
            write_text(folder / "error.json", json.dumps({"error": event.error, "trace": event.trace}, indent=1) + "\n")
        if event.kind in ("finished", "failed"):
            write_csv(self.folder / "results.csv", self.results())

    def write(self) -> Table:
        """``results.csv``, ``table.json``, ``table.md``, ``table.tex``, and ``report.html`` once a run is done."""
        self.folder.mkdir(parents=True, exist_ok=True)
        table, results = self.table(), self.results()
        pages, notes = self.sheets(table), warnings(table)
        write_csv(self.folder / "results.csv", results)
        runs = [cell.run_id for cell in self.grid.cells]
        content = to_dict(table) | {
            "sheets": to_dict(pages),
            "warnings": notes,
            "runs": runs,
            "best": _best(table, results),
        }
        write_text(self.folder / "table.json", json.dumps(content, indent=1) + "\n")
        write_text(self.folder / "table.md", markdown(pages, notes))
        write_text(self.folder / "table.tex", latex(pages, notes))
        if table.done:
            sweep_report(self.folder, [run_folder(self.folder, cell.run_id) for cell in self.grid.cells], metrics_of)
        return table


def _best(table: Table, results: Sequence[Result]) -> list[str]:
    """A run of each of the best two rows of the last epoch: that of the first seed."""
    rows = table.rows.get("last", ())[:2]
    of_rows = [[r.run_id for r in results if r.status == "done" and r.variant == row.variant] for row in rows]
    return [run_ids[0] for run_ids in of_rows]
