"""A sweep on the terminal: a live view while it runs, and its sheets."""

import sys
import time
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from rich.cells import cell_len
from rich.console import Group
from rich.live import Live
from rich.text import Text

from uan_da.cli.terminal import print_sheet, rich_console
from uan_da.sweeps.jobs import Event
from uan_da.sweeps.progress import Progress
from uan_da.sweeps.sheet import Sheet
from uan_da.sweeps.sheets import mean, warnings
from uan_da.sweeps.sweep import Sweep
from uan_da.sweeps.table import AVERAGE, Table

BAR = 24


class SweepConsole:
    """Tells how far a sweep is; where there is no terminal, a plain line for each run that ends."""

    def __init__(self) -> None:
        self.plain = not sys.stdout.isatty()
        self.rich = rich_console()
        self.progress = Progress({})
        self.sweep: Sweep | None = None
        self.names: dict[str, str] = {}
        self.best = ""
        self.live = Live(console=self.rich, get_renderable=self._view, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.live.stop()

    def say(self, text: str) -> None:
        """One line, unwrapped."""
        self.rich.print(text, soft_wrap=True)

    def start(self, sweep: Sweep, left: Sequence[str]) -> None:
        """The header of a comparison."""
        self.sweep = sweep
        self.names = {cell.run_id: cell.name for cell in sweep.grid.cells}
        kinds = {cell.run_id: cell.settings["method"] for cell in sweep.grid.cells if cell.run_id in set(left)}
        self.progress = Progress(kinds, already=len(sweep.grid.cells) - len(left))
        self.say(f"{len(sweep.grid.cells)} runs: {self.progress.done} done, {len(left)} to do   in {sweep.folder}")
        if not self.plain and left:
            self.live.start()

    def begin(self, names: Mapping[str, str], also: str = "") -> None:
        """The next runs, by run id; ``also`` stands behind the counts."""
        self.names = dict(names)
        self.progress = Progress(dict.fromkeys(names, ""))
        self.best = also
        if not self.plain and names:
            self.live.start()

    def event(self, event: Event) -> None:
        """Move on; say what ended."""
        self.progress.see(event, time.monotonic())
        if event.kind not in ("finished", "failed"):
            return
        if event.kind == "finished" and self.sweep is not None:
            self.best = best(self.sweep.table())
        if event.kind == "failed" or self.plain:
            what = f"failed: {event.error}" if event.kind == "failed" else "done"
            self.say(f"{self.names[event.run_id]}: {what}" + (f"   [{self.status()}]" if self.plain else ""))

    def status(self) -> str:
        """The counts, the time left, and the best so far."""
        p = self.progress
        seconds = p.seconds_left(time.monotonic())
        counts = f"{p.done} done, {len(p.running)} running, {len(p.failed)} failed, {p.left} left"
        time_left = "" if seconds is None else f"about {span(seconds)} to go"
        return ", ".join(filter(None, [counts, time_left, self.best]))

    def _view(self) -> Group:
        lines = [Text(self.status())]
        for run_id, run in list(self.progress.running.items()):
            rest = f" {run.step:>6}/{run.total}  {self.names.get(run_id, run_id)}"
            size = max(4, min(BAR, self.rich.width - cell_len(rest) - 3))  # the name stays whole on its line
            filled = round(size * run.step / max(1, run.total))
            lines.append(Text("  " + "━" * filled + " " * (size - filled) + rest))
        return Group(*lines)

    def table(self, table: Table) -> None:
        """The sheets, and what must not be overlooked."""
        assert self.sweep is not None
        self.sheets(self.sweep.sheets(table), warnings(table))

    def sheets(self, sheets: Sequence[Sheet], lines: Sequence[str]) -> None:
        """Tables, and lines below them."""
        self.live.stop()
        for sheet in sheets:
            print_sheet(self.rich, sheet)
        for line in lines:
            self.say(line)


def best(table: Table) -> str:
    """The first row of the last epoch's ranking."""
    rows = table.rows.get("last", ())
    if not rows or rows[0].target[AVERAGE] is None:
        return ""
    return f"best so far: {rows[0].name} {mean(rows[0].target[AVERAGE])}"


def span(seconds: float) -> str:
    """``40 s``, ``12 min``, ``3.5 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
