"""Bars on a terminal, for downloads and for the reading of images; nothing elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from uan_da.data.progress import Start


@contextmanager
def download_bars() -> "Iterator[Start]":
    """A bar for each download, in bytes."""
    from rich.progress import DownloadColumn, TransferSpeedColumn

    with _bars(DownloadColumn(), TransferSpeedColumn()) as start:
        yield start


@contextmanager
def image_bars() -> "Iterator[Start]":
    """A bar for each part of a data set, with images a second."""
    from rich.progress import MofNCompleteColumn, ProgressColumn, Task
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{task.finished_speed or task.speed or 0:.0f} images/s")

    with _bars(MofNCompleteColumn(), Rate()) as start:
        yield start


@contextmanager
def _bars(*columns: "ProgressColumn") -> "Iterator[Start]":
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    console = Console(stderr=True)
    name = TextColumn("{task.description}", markup=False)  # names are the user's
    bars = Progress(
        name, BarColumn(), *columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal
    )

    def start(what: str) -> Callable[[int, int | None], None]:
        task = bars.add_task(what, total=None)
        return lambda done, total: bars.update(task, completed=done, total=total)

    with bars:
        yield start
