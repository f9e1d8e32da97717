"""Runs on this machine, each in a process of its own."""

import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import ForkServerContext, ForkServerProcess
from signal import SIGKILL

import torch

from uan_da.errors import UserError
from uan_da.sweeps import memory
from uan_da.sweeps.jobs import Event, Job, Tell, failure
from uan_da.sweeps.server import hear_ctrl_c, hears_ctrl_c, start_server
from uan_da.sweeps.slots import Slots
from uan_da.training.device import choose_device, cores
from uan_da.training.interrupt import Interrupted, StopRequest, noticing_signals

TICK = 0.5


@dataclass(frozen=True)
class Local:
    """One process a run, pinned to a device, with a fixed number of threads.

    The processes end with this one, however it ends: each watches a pipe whose other end only this process holds.

    Args:
        devices: names of PyTorch's; runs are spread over them.
        jobs: runs at once, at most: fewer, where they would not fit in memory.
        threads: of each run.
    """

    devices: Sequence[str]
    jobs: int
    threads: int

    @classmethod
    def on(cls, device: str = "auto", jobs: int | None = None, threads: int | None = None) -> "Local":
        """``device``: ``auto`` (all CUDA devices, else MPS, else the CPU), or names separated by commas. One run at a
        time on a device, on the CPU one on each core, unless ``jobs`` says otherwise. A run has one CPU
        thread unless ``threads`` says otherwise: its numbers depend on it, and shall not on the machine's cores.

        Raises:
            UserError: a device cannot be used.
        """
        names = device.split(",")
        if device in ("auto", "cuda") and torch.cuda.device_count():
            names = [f"cuda:{index}" for index in range(torch.cuda.device_count())]
        elif device == "auto":
            names = [choose_device().type]
        for name in names:
            _check(name)
        jobs = jobs or (cores() if names == ["cpu"] else len(names))
        return cls(names, jobs, threads or 1)

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """See :class:`uan_da.sweeps.jobs.Executor`. Runs that memory did not suffice for, beside others, get a second
        try after all others, one at a time on each device."""
        starved = Pass(self, self.jobs, tell).train(jobs)
        Pass(self, len(self.devices), tell).train(starved)


def _check(name: str) -> None:
    """That there is a device of this name, without a CUDA context in this process, which only its runs need."""
    kind, _, index = name.partition(":")
    if kind != "cuda":
        choose_device(name)
        return
    count = torch.cuda.device_count()
    if not index.isdigit() or int(index) >= count:
        raise UserError(f"device {name!r} cannot be used: there are {count} CUDA devices, from cuda:0")


class Pass:
    """The processes of one go over a list of jobs."""

    def __init__(self, executor: Local, at_once: int, tell: Tell) -> None:
        self.executor, self.tell = executor, tell
        self.slots = Slots(executor.devices, at_once, {memory.HOST: memory.free_host()})
        self.crowded = at_once > len(executor.devices)
        self.stop = StopRequest()
        self.children: dict[Connection, Child] = {}
        self.starved: list[Job] = []

    def train(self, jobs: Sequence[Job]) -> list[Job]:
        """Train ``jobs``; returns those that ran out of memory, where others were beside them.

        Raises:
            Interrupted: after a signal, once all runs under way have saved a checkpoint and ended.
        """
        left = list(jobs)
        context = start_server()
        with noticing_signals() as self.stop:
            try:
                while (left and self.stop.number is None) or self.children:
                    if self.stop.number is None:
                        self._start(left, context)
                    else:
                        self._ask_to_stop()
                    for connection in wait(list(self.children), TICK):
                        assert isinstance(connection, Connection)
                        self._hear(connection)
            finally:
                for child in self.children.values():
                    child.process.kill()
            if self.stop.number is not None:
                raise Interrupted(self.stop.number)
        return self.starved

    def _start(self, left: list[Job], context: ForkServerContext) -> None:
        """As many as have a place."""
        threads = self.executor.threads
        while left and (device := self.slots.device()):
            job = left.pop(0)
            ours, theirs = context.Pipe()
            process = context.Process(
                target=_child, args=(job, device, threads, theirs, dict(os.environ), hears_ctrl_c())
            )
            process.start()
            theirs.close()
            self.children[ours] = Child(job, process)
            self.slots.running[job.run_id] = device

    def _ask_to_stop(self) -> None:
        for child in self.children.values():
            if not child.stopping:
                child.process.terminate()
                child.stopping = True

    def _hear(self, connection: Connection) -> None:
        child = self.children[connection]
        try:
            event: Event = connection.recv()
        except (EOFError, OSError):  # the latter, where it was killed in the middle of a word
            self._ended(connection, child)
            return
        child.last = event
        self.slots.saw(event.peak, event.free)
        if event.kind in ("started", "step"):
            self.tell(event)

    def _ended(self, connection: Connection, child: "Child") -> None:
        """Tell how, once the process has left its memory to others."""
        connection.close()
        child.process.join()
        del self.children[connection], self.slots.running[child.job.run_id]
        event, code = child.last, child.process.exitcode
        if event is None or event.kind not in ("finished", "failed"):
            if self.stop.number is not None:
                return
            how = f"was killed by signal {-code}" if code is not None and code < 0 else f"ended with exit code {code}"
            event = Event("failed", child.job.run_id, error=f"its process {how}", out_of_memory=code == -SIGKILL)
        if event.out_of_memory and self.crowded:
            self.starved.append(child.job)
        else:
            self.tell(event)


@dataclass
class Child:
    """A run's process, and the last that it told."""

    job: Job
    process: ForkServerProcess
    last: Event | None = None
    stopping: bool = False


def _child(
    job: Job, device: str, threads: int, parent: Connection, environment: Mapping[str, str], hears: bool
) -> None:
    """The process of a run, which ``hears`` Ctrl-C if its parent does."""
    if hears:
        hear_ctrl_c()
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    os.environ.clear()
    os.environ.update(environment)  # the server that this was forked from may be older than a change of it
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    try:
        job.work(device, threads, parent.send)
        parent.send(Event("finished", job.run_id, peak=memory.peak(device)))
    except Interrupted as stop:
        raise SystemExit(stop.exit_code) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except Exception as error:
        parent.send(failure(job, error))


def _end_with(parent: Connection) -> None:
    """End this process when the other end of the pipe is gone: at once, for nobody is left to ask."""
    try:
        parent.recv_bytes()
    except (EOFError, OSError):
        os._exit(1)
