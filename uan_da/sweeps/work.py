"""One training of a sweep, in whatever process it is done."""

import fcntl
import json
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from uan_da.recipe import Recipe
from uan_da.sweeps import memory
from uan_da.sweeps.jobs import Event, Job, Tell
from uan_da.training.checkpoint import is_of_the_machine
from uan_da.training.interrupt import Interrupted
from uan_da.training.monitor import Silent
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.training import Training
from uan_da.trust import FILES

PAUSE = 0.5
"""Seconds between two words of a run on its progress."""


@dataclass(frozen=True)
class TrainingJob(Job):
    """A training: its resolved recipe as plain data."""

    recipe: Mapping[str, Any] = field(repr=False)
    floors: Mapping[int, float] = field(default_factory=dict)
    """Epoch → what the best validator score so far has to reach: a run below it stops there, as in a search."""

    @property
    def name(self) -> str:
        """Its task, method, norm and seed."""
        recipe = self.recipe
        return f"{recipe['task']}  {recipe['method']['name']}  {recipe['norm']['name']}  seed {recipe['seed']}"

    def work(self, device: str, threads: int, tell: Tell) -> None:
        """Train, go on where the training was interrupted, or find it done."""
        run = Run(self.folder)
        torch.set_num_threads(threads)
        with only_one(self.sweep / "locks" / self.run_id):
            if run.done:  # by another command in the same folder, while this one waited
                return
            started, teller = time.perf_counter(), Teller(self, device, tell)
            recipe = Recipe.model_validate(dict(self.recipe), context=FILES)  # whoever made the job told of its code
            try:
                go = _go_on if run.recipe_file.is_file() else _start
                go(recipe, run, device, teller)
            except Pruned:
                return
            (run.folder / "error.json").unlink(missing_ok=True)
            seconds, peak = time.perf_counter() - started, memory.peak(device)
            used: dict[str, Any] = {"device": device, "threads": threads, "seconds": seconds, "peak": peak}
            (run.folder / "resources.json").write_text(json.dumps(used, indent=1) + "\n", encoding="utf-8")


def _start(recipe: Recipe, run: Run, device: str, teller: "Teller") -> None:
    if run.folder.exists() and not run.recipe_file.is_file():  # it was interrupted before it had begun
        shutil.rmtree(run.folder)
    train(recipe, run.folder, device=device, overwrite=True, monitor=teller)


def _go_on(recipe: Recipe, run: Run, device: str, teller: "Teller") -> None:
    """To the same bits as without the interruption; from the start, where what it left is damaged."""
    try:
        train(recipe, run.folder, device=device, resume=True, monitor=teller)
    except (Interrupted, KeyboardInterrupt, Pruned):
        raise
    except Exception as error:
        if teller.started or is_of_the_machine(error):  # it is the training that failed, or reading what is whole
            raise
        _start(recipe, run, device, teller)


class Pruned(Exception):
    """The run is not worth going on with; what it did stays."""


class Teller(Silent):
    """Tells an executor how far a training is, a few times a second at most; stops one that is below its floors."""

    def __init__(self, job: TrainingJob, device: str, tell: Tell) -> None:
        self.job, self.device, self.tell = job, device, tell
        self.started, self.said = False, 0.0
        self.rows: list[Mapping[str, Any]] = []
        self.free = memory.free(device)

    def start(self, training: Training, run: Run) -> None:
        """The data are there, and the checkpoint, if there was one, has been read."""
        self.started, self.rows = True, [*run.metrics()]
        self._say("started", training)

    def step(self, training: Training) -> None:
        """Not every one of them."""
        if time.monotonic() - self.said >= PAUSE:
            self._say("step", training)

    def epoch(self, row: dict[str, Any]) -> None:
        """Its row is on the way to ``metrics.jsonl``.

        Raises:
            Pruned: the best score up to it is below the job's floor.
        """
        self.rows.append(row)
        if cut(self.rows, self.job.floors) is not None:
            raise Pruned

    def _say(self, kind: Any, training: Training) -> None:
        self.said = time.monotonic()
        peak = memory.peak(self.device)
        self.tell(Event(kind, self.job.run_id, training.step, training.total_steps, peak=peak, free=self.free))


def cut(rows: Sequence[Mapping[str, Any]], floors: Mapping[int, float]) -> int | None:
    """The first epoch of ``metrics.jsonl`` by which the best score is below its floor; None if there is none."""
    best = float("-inf")
    for row in rows:
        best = max(best, float("-inf") if row["score"] is None else row["score"])
        if best < floors.get(row["epoch"], float("-inf")):
            return int(row["epoch"])
    return None


@contextmanager
def only_one(lock: Path) -> Iterator[None]:
    """Waits until no other process is in the block of the same ``lock``; a process that dies leaves it."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
