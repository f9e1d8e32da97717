import multiprocessing
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from uan_da.errors import UserError
from uan_da.sweeps.jobs import Event, Job, failure
from uan_da.sweeps.local import Local, Pass
from uan_da.sweeps.work import TrainingJob


def test_the_cpu_has_a_run_on_each_core_and_a_run_has_one_thread():
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    assert Local.on("cpu") == Local(["cpu"], cores, 1)
    assert Local.on("cpu", jobs=1) == Local(["cpu"], 1, 1)
    assert Local.on("cpu", jobs=100 * cores) == Local(["cpu"], 100 * cores, 1)
    assert Local.on("cpu", jobs=1, threads=3).threads == 3


def test_gpus_have_a_run_each_and_more_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 3)
    assert Local.on("auto").devices == Local.on("cuda").devices == ["cuda:0", "cuda:1", "cuda:2"]
    assert Local.on("auto").jobs == 3
    assert Local.on("cuda:0,cuda:2", jobs=4) == Local(["cuda:0", "cuda:2"], 4, Local.on("cpu", jobs=4).threads)
    with pytest.raises(UserError, match="device 'cuda:3' cannot be used: there are 3 CUDA devices"):
        Local.on("cuda:0,cuda:3")


def test_what_ran_out_of_memory_beside_others_is_tried_again_by_itself(monkeypatch, tmp_path):
    """The first pass reports two that starved; the second has one place a device."""
    passes: list[tuple[int, list[str]]] = []
    jobs = [TrainingJob(name, tmp_path, {}) for name in "abc"]

    def train(self: Pass, given: list[Job]) -> list[Job]:
        passes.append((self.slots.jobs, [job.run_id for job in given]))
        return list(given[1:]) if len(passes) == 1 else []

    monkeypatch.setattr(Pass, "train", train)
    Local(["cuda:0"], 3, 1).run(jobs, lambda event: None)
    assert passes == [(3, ["a", "b", "c"]), (1, ["b", "c"])]


@pytest.mark.parametrize(("at_once", "starved"), [(2, True), (1, False)])
def test_only_a_run_that_had_company_starves(monkeypatch, tmp_path, at_once, starved):
    told: list[Event] = []
    this = Pass(Local(["cuda:0"], at_once, 1), at_once, told.append)
    job = TrainingJob("a", tmp_path, {})
    child = type("Child", (), {"job": job, "process": Ended(), "last": OUT, "stopping": False})()
    connection = Closed()
    this.children[connection] = child  # type: ignore[index]
    this.slots.running["a"] = "cuda:0"
    this._ended(connection, child)  # type: ignore[arg-type]
    assert this.starved == ([job] if starved else [])
    assert told == ([] if starved else [OUT])
    assert not this.slots.running


def test_a_run_that_is_killed_in_the_middle_of_a_word_ends_like_any_that_is_killed(tmp_path):
    told: list[Event] = []
    this = Pass(Local(["cpu"], 1, 1), 1, told.append)
    ours, theirs = multiprocessing.Pipe()
    child = type(
        "Child", (), {"job": TrainingJob("a", tmp_path, {}), "process": Killed(), "last": None, "stopping": False}
    )()
    this.children[ours] = child  # type: ignore[assignment]
    this.slots.running["a"] = "cpu"
    os.write(theirs.fileno(), struct.pack("!i", 100) + b"half")
    theirs.close()
    this._hear(ours)
    assert [event.error for event in told] == ["its process was killed by signal 9"]
    assert not this.children


def test_the_cpus_allocator_runs_out_of_memory_too(tmp_path):
    job = TrainingJob("a", tmp_path, {})
    with pytest.raises(RuntimeError) as caught:
        torch.empty(1 << 55)
    assert failure(job, caught.value).out_of_memory
    assert not failure(job, RuntimeError("shapes")).out_of_memory


OUT = Event("failed", "a", error="OutOfMemoryError: no", out_of_memory=True)


class Ended:
    """A process that is over."""

    exitcode = 0

    def join(self) -> None: ...


class Killed(Ended):
    """A process that SIGKILL ended."""

    exitcode = -9


class Closed:
    """A connection that nobody writes to any more."""

    def close(self) -> None: ...


def test_ctrl_c_while_the_server_imports_prints_no_traceback(tmp_path: Path) -> None:
    """A terminal sends it to all processes of the command."""
    code = "from uan_da.sweeps.server import start_server; start_server(); input()"
    command = [sys.executable, "-c", code]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, start_new_session=True, text=True
    ) as process:
        time.sleep(0.7)
        os.killpg(process.pid, signal.SIGINT)
        assert process.stderr is not None
        told = process.stderr.read()
    assert "forkserver" not in told
    assert told.count("KeyboardInterrupt") == 1  # this process's own


def test_runs_of_a_command_that_ignores_ctrl_c_ignore_it_too(tmp_path: Path) -> None:
    """As one in the background of a script does."""
    code = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); from uan_da.cli.app import main; main()"
    few = ["train.epochs=1", "train.steps_per_epoch=60", "--jobs", "1", "--out", "out"]
    command = [sys.executable, "-c", code, "compare", "digits", "--method", "source_only", "--norm", "bn", *few]
    with subprocess.Popen(command, cwd=tmp_path, start_new_session=True, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not list(tmp_path.glob("out/runs/*/train.log")):
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)
    assert process.returncode == 0
    assert list(tmp_path.glob("out/runs/*/done"))
