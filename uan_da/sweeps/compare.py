"""A grid of runs, from the recipe to the table."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

from uan_da.sweeps.folder import check_grid_folder
from uan_da.sweeps.grid import build_grid
from uan_da.sweeps.jobs import Event, Executor
from uan_da.sweeps.local import Local
from uan_da.sweeps.sweep import Sweep
from uan_da.sweeps.table import Table
from uan_da.trust import TELLING


class View(Protocol):
    """Is told of a sweep; decides nothing."""

    def start(self, sweep: Sweep, left: Sequence[str]) -> None:
        """Before the first run; ``left`` are the run ids of what is to be done."""

    def event(self, event: Event) -> None:
        """After each word of a run."""


def compare(
    recipe: str | Path,
    overrides: Iterable[str] = (),
    *,
    out: Path | str,
    reference: str | None = None,
    executor: Executor | None = None,
    view: View | None = None,
) -> Table:
    """Train what is left of a grid in the folder ``out``, and write the table of all of it.

    Args:
        recipe: a shipped recipe's name, or a file.
        overrides: ``key=v1,v2`` spans an axis: ``["method=dann,adamatch", "norm=bn,uan", "seed=0..4"]``.
            ``source_only`` is always in the grid.
        out: the sweep's folder; what is done in it is not trained again.
        reference: the row that the others are compared with, ``"dann bn"``; without, ``source_only`` with the first
            norm.
        executor: who trains the runs; without, this machine, with one thread a run.
        view: is told how far it is.

    Returns:
        What is done, by selection; a run that failed is in ``failed``, with its error.

    Raises:
        UserError: the grid, the folder, or the reference.
        Interrupted: Ctrl-C or SIGTERM; the same call goes on.

    Example:
        >>> few = ["train.epochs=1", "train.steps_per_epoch=1"]
        >>> table = compare("digits", ["norm=bn,uan", "method=source_only", *few], out="runs/first")
        >>> len(table.failed)
        0
    """
    check_grid_folder(Path(out))
    executor = executor or Local.on()
    sweep = Sweep(build_grid(recipe, overrides, TELLING, threads=executor.threads), Path(out), reference)
    sweep.table()  # a wrong reference is told before hours of training
    jobs = [sweep.job(cell) for cell in sweep.left()]
    if jobs:  # killed before the new one is written, the folder has no table of other runs
        (sweep.folder / "table.json").unlink(missing_ok=True)
    if view is not None:
        view.start(sweep, [job.run_id for job in jobs])

    def tell(event: Event) -> None:
        sweep.note(event)
        if view is not None:
            view.event(event)

    try:
        executor.run(jobs, tell)
    finally:
        table = sweep.write()
    return table
