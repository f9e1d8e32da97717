"""What an executor is given, and what it tells."""

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from uan_da.training.device import ran_out_of_memory


@dataclass(frozen=True)
class Job(ABC):
    """A run of a grid: its run id, and the folder of the grid. It travels to the process that does it."""

    run_id: str
    sweep: Path

    @property
    @abstractmethod
    def name(self) -> str:
        """As a line of text names it."""

    @property
    def folder(self) -> Path:
        """The run's own folder: it holds all that the run leaves."""
        return run_folder(self.sweep, self.run_id)

    @abstractmethod
    def work(self, device: str, threads: int, tell: "Tell") -> None:
        """Do what is left of the run, in whatever process this is.

        Args:
            device: a name of PyTorch's.
            threads: of PyTorch.
            tell: is told of the start and of the steps.

        Raises:
            Exception: whatever the run raises.
        """


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
    """Does jobs, in whatever order and wherever; returns when each has finished or failed."""

    @property
    def threads(self) -> int:
        """CPU threads of each run."""

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """Do all ``jobs``; ``tell`` is called in the caller's thread.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; the runs under way saved a checkpoint.
        """
