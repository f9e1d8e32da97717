"""How far a sweep is, and how long it will take."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from statistics import fmean

from uan_da.sweeps.jobs import Event


@dataclass
class Running:
    """A run under way: since when, from which step, and where it is."""

    since: float
    first: int
    step: int
    total: int


@dataclass
class Progress:
    """Counts, and an estimate of the seconds left, from what the runs tell.

    ``kinds``: run id → what runs of about the same length have in common, for everything that is to be done.
    """

    kinds: Mapping[str, str]
    already: int = 0
    """Runs that were done before."""
    running: dict[str, Running] = field(default_factory=dict)
    finished: dict[str, float] = field(default_factory=dict)
    """Address → seconds of a whole run."""
    failed: list[str] = field(default_factory=list)
    at_once: int = 1
    """The most runs that were under way together."""

    def see(self, event: Event, now: float) -> None:
        """Take in an event; ``now`` in seconds. Of a run that has ended nothing more is taken in."""
        if event.run_id in self.finished or event.run_id in self.failed:
            return
        if event.kind == "started":
            self.running[event.run_id] = Running(now, event.step, event.step, event.total)
            self.at_once = max(self.at_once, len(self.running))
        elif event.kind == "step" and event.run_id in self.running:
            self.running[event.run_id].step = event.step
        elif event.kind in ("finished", "failed"):
            run = self.running.pop(event.run_id, None)
            if event.kind == "failed":
                self.failed.append(event.run_id)
            else:
                self.finished[event.run_id] = _whole(run, now)

    @property
    def done(self) -> int:
        """Runs that are done, with those of before."""
        return self.already + len(self.finished)

    @property
    def left(self) -> int:
        """Runs that have not begun."""
        return len(self.kinds) - len(self.finished) - len(self.failed) - len(self.running)

    def seconds_left(self, now: float) -> float | None:
        """None until a run has made enough steps to tell."""
        waiting = [a for a in self.kinds if a not in {*self.finished, *self.failed, *self.running}]
        seconds = [self._expected(self.kinds[run_id], now) for run_id in waiting]
        seconds += [self._remaining(run_id, run, now) for run_id, run in self.running.items()]
        known = [value for value in seconds if value is not None]
        if len(known) < len(seconds) or not seconds:
            return None
        return max(sum(known) / self.at_once, max(known))

    def _remaining(self, run_id: str, run: Running, now: float) -> float | None:
        expected = self._expected(self.kinds[run_id], now)
        return None if expected is None else max(0.0, expected * (1 - run.step / max(1, run.total)))

    def _expected(self, kind: str, now: float) -> float | None:
        """Seconds of a whole run: the mean of its kind, else of all."""
        known = [(self.kinds[run_id], seconds) for run_id, seconds in self.finished.items() if seconds > 0]
        known = known or [
            (self.kinds[run_id], (now - run.since) * run.total / (run.step - run.first))
            for run_id, run in self.running.items()
            if run.step > run.first
        ]
        own = [seconds for other, seconds in known if other == kind] or [seconds for _, seconds in known]
        return fmean(own) if own else None


def _whole(run: Running | None, now: float) -> float:
    """Seconds that a run would have taken from its first step; 0 of one that only had to be found done."""
    if run is None or run.first >= run.total:
        return 0.0
    return (now - run.since) * run.total / (run.total - run.first)
