"""What an executor is given, and what it tells."""

import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from uan_da.training.device import ran_out_of_memory


@dataclass(frozen=True)
class Job:
    """A run that is to be done: its run id, its resolved recipe as plain data, and the folder of its sweep."""

    run_id: str
    recipe: Mapping[str, Any] = field(repr=False)
    sweep: Path
    floors: Mapping[int, float] = field(default_factory=dict)
    """Epoch → what the best validator score so far has to reach: a run below it stops there, as in a search."""

    @property
    def folder(self) -> Path:
        """The run's own folder."""
        return run_folder(self.sweep, self.run_id)


def run_folder(sweep: Path, run_id: str) -> Path:
    """Where a sweep keeps the run of that id."""
    return sweep / "runs" / run_id


@dataclass(frozen=True)
class Event:
    """What became of a run."""

    kind: Literal["started", "step", "finished", "failed"]
    run_id: str
    step: int = 0
    total: int = 0
    error: str = ""
    """One line, of a run that failed."""
    trace: str = ""
    peak: Mapping[str, int] = field(default_factory=dict)
    """Bytes that the run has taken at most, of ``host`` and of its device."""
    free: Mapping[str, int] = field(default_factory=dict)
    """Bytes of its device that were free before it started."""
    out_of_memory: bool = False


def failure(job: Job, error: Exception) -> Event:
    """What is told of a run that raised ``error``."""
    trace = "".join(traceback.format_exception(error))
    line = " ".join(f"{type(error).__name__}: {error}".split())
    return Event("failed", job.run_id, error=line, trace=trace, out_of_memory=ran_out_of_memory(error))


Tell = Callable[[Event], None]


class Executor(Protocol):
    """Trains jobs, in whatever order and wherever; returns when each has finished or failed."""

    @property
    def threads(self) -> int:
        """CPU threads of each run."""

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Train all ``jobs``; ``tell`` is called in the caller's thread.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the runs under way saved a checkpoint.
        """
