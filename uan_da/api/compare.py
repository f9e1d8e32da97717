"""Compare runs from Python."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from uan_da.sweeps.compare import compare as compare_runs
from uan_da.sweeps.here import Here
from uan_da.sweeps.jobs import Executor
from uan_da.sweeps.table import AVERAGE, Row, Table


@dataclass(frozen=True)
class Comparison:
    """A finished grid of runs. Accuracies are in [0, 1]; ``table`` and ``results`` are pandas DataFrames.

    Example:
        >>> from uan_da import compare
        >>> few = ["method=source_only", "norm=bn", "train.epochs=1", "train.steps_per_epoch=1"]
        >>> comparison = compare("digits", few, out="runs/first", device="cpu", progress=False)
        >>> comparison.results["status"].tolist()
        ['done']
    """

    folder: Path
    summary: Table

    @property
    def table(self) -> pd.DataFrame:
        """A row for each selection and variant, the best first.

        ``target`` and ``source`` are mean accuracies over seeds (and tasks), ``std`` is the standard deviation of
        ``target``. ``gain`` is the difference from ``source_only`` with the same norm and seeds, ``gain_low`` to
        ``gain_high`` its 95 % interval. ``difference`` is the difference from the reference, ``p`` its p-value after
        Holm's correction."""
        rows = [{"selection": name, **_cells(row)} for name, rows in self.summary.rows.items() for row in rows]
        return pd.DataFrame(rows)

    @property
    def results(self) -> pd.DataFrame:
        """The rows of ``results.csv``, one for each run."""
        return pd.read_csv(self.folder / "results.csv", dtype={"run": str})

    def __repr__(self) -> str:
        return f"Comparison({str(self.folder)!r}, done={self.summary.done}, failed={len(self.summary.failed)})"

    def _repr_html_(self) -> str:
        """In a notebook: the table, and the runs that failed."""
        shown = self.table.to_html(index=False, float_format="{:.3f}".format, na_rep="")
        failed = pd.DataFrame([{"run": each.run_id, "error": each.error} for each in self.summary.failed])
        return shown if failed.empty else shown + failed.to_html(index=False)


def _cells(row: Row) -> dict[str, object]:
    target, source, gain = row.target[AVERAGE], row.source[AVERAGE], row.gain.get(AVERAGE)
    low, high = (gain.interval or (None, None)) if gain else (None, None)
    return {
        **dict(row.variant),
        "seeds": target.n if target else 0,
        "target": target.mean if target else None,
        "std": target.std if target else None,
        "source": source.mean if source else None,
        "gain": gain.mean if gain else None,
        "gain_low": low,
        "gain_high": high,
        "difference": row.difference.mean if row.difference else None,
        "p": row.difference.corrected if row.difference else None,
    }


def compare(
    recipe: str | Path,
    overrides: Iterable[str] = (),
    *,
    out: Path | str,
    reference: str | None = None,
    device: str = "auto",
    executor: Executor | None = None,
    progress: bool = True,
) -> Comparison:
    """Train the missing runs of a grid in the folder ``out``, one after the other in this process.

    Args:
        recipe: a shipped recipe's name, or a file.
        overrides: ``key=v1,v2`` is an axis of the grid: ``["method=dann,adamatch", "norm=bn,uan", "seed=0..4"]``.
            ``source_only`` is always in the grid.
        out: the sweep's folder; finished runs in it are not trained again.
        reference: the row that the others are compared with, such as ``"dann bn"``; default: ``source_only`` with the
            first norm.
        device: ``auto``, or a device of PyTorch.
        executor: trains the runs in place of this process; ``uan_da.sweeps.local.Local.on()`` starts several
            processes on this machine (in a script, below ``if __name__ == "__main__":``).
        progress: print one line per run.

    Raises:
        UserError: the grid, the folder or the reference is wrong.

    Example:
        >>> few = ["train.epochs=1", "train.steps_per_epoch=1"]
        >>> grid = ["norm=bn,uan", "method=source_only", *few]
        >>> comparison = compare("digits", grid, out="runs/first", device="cpu", progress=False)
        >>> comparison.table[["selection", "method"]].value_counts().tolist()
        [2, 2]
    """
    here = executor or Here(device, progress)
    return Comparison(Path(out), compare_runs(recipe, overrides, out=out, reference=reference, executor=here))
