"""Runs on a Ray cluster, each a task that Ray places, and places again when its node is lost."""

import io
import os
import tarfile
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from uan_da.errors import UserError
from uan_da.files import whole_file
from uan_da.sweeps.jobs import Event, Job, Tell, failure
from uan_da.training.interrupt import Interrupted, noticing_signals

RETRIES = 5
"""How often a run is placed again after its node or its process was lost; what it raises itself is final."""
TICK = 0.5
MARK = ".shared"
"""A file in the sweep's folder by which a node knows that it sees that folder."""


@dataclass(frozen=True)
class OnRay:
    """Each run a Ray task of ``threads`` CPUs and, where the cluster has GPUs, a share of one.

    A node that sees the sweep's folder trains in it, so that a run whose node is lost goes on elsewhere from its last
    checkpoint. Another node trains in a folder of its own, and the run comes back whole; lost, it starts anew.

    Args:
        address: of the cluster's head; None uses ``RAY_ADDRESS``, or starts Ray on this machine.
        jobs: the most runs at once; None lets Ray decide.
        threads: of each run.
        gpus: GPUs of each run, such as 0.5 for two on one; None means one, if the cluster has any.
    """

    address: str | None = None
    jobs: int | None = None
    threads: int = 1
    gpus: float | None = None

    def run(self, jobs: Sequence[Job], tell: Tell) -> None:
        """See :class:`uan_da.sweeps.jobs.Executor`.

        Raises:
            UserError: Ray is not installed, there is no such cluster, or none of its nodes has what a run takes.
        """
        if not jobs:
            return
        ray = _connect(self.address)
        jobs[0].sweep.mkdir(parents=True, exist_ok=True)
        (jobs[0].sweep / MARK).touch()
        gpus = self.gpus if self.gpus is not None else float(ray.cluster_resources().get("GPU", 0) > 0)
        _check_fits(ray.nodes(), self.threads, gpus)
        resources = {"num_cpus": self.threads, "num_gpus": gpus}
        here = ray.get_runtime_context().get_node_id()  # not on a node that may be lost before this process is
        place = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(here, soft=False)
        mailbox = ray.remote(num_cpus=0, scheduling_strategy=place)(Mailbox).remote()
        task = ray.remote(max_retries=RETRIES, retry_exceptions=False, **resources)(_task)
        left, running = list(jobs), dict[Any, Job]()
        device = "cuda" if gpus else "cpu"
        with noticing_signals() as stop:
            while (left or running) and stop.number is None:
                while left and (self.jobs is None or len(running) < self.jobs):
                    job = left.pop(0)
                    running[task.remote(job, device, self.threads, mailbox, os.getcwd(), _environment())] = job
                for event in ray.get(mailbox.take.remote()):
                    tell(event)
                ended, _ = ray.wait(list(running), timeout=TICK)
                for reference in ended:
                    tell(_outcome(ray, reference, running.pop(reference)))
            for reference in running:
                ray.cancel(reference)
            if running:
                ray.wait(list(running), num_returns=len(running), timeout=60)
        if stop.number is not None:
            raise Interrupted(stop.number)


class Mailbox:
    """Where the runs leave word, for whoever asks."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def put(self, event: Event) -> None:
        """Leave word."""
        self.events.append(event)

    def take(self) -> list[Event]:
        """All since the last time."""
        events, self.events = self.events, []
        return events


def _connect(address: str | None) -> Any:
    try:
        import ray
        import ray.util.scheduling_strategies
    except ImportError:
        raise UserError("--executor ray needs Ray: pip install 'uan-da[ray]'") from None
    try:
        if not ray.is_initialized():
            ray.init(address=address, log_to_driver=False, include_dashboard=False if address is None else None)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UserError(f"--ray-address {address}: {error}") from None
    return ray


def _check_fits(nodes: Sequence[Mapping[str, Any]], cpus: float, gpus: float) -> None:
    """UserError where Ray would wait for ever: no node, free or not, has the CPUs and the GPUs of a run."""
    have = [node["Resources"] for node in nodes if node["Alive"]]
    if any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in have):
        return
    found = ", ".join(f"{node.get('CPU', 0):g} and {node.get('GPU', 0):g}" for node in have)
    raise UserError(
        f"--executor ray: a run takes {cpus:g} CPUs (--threads) and {gpus:g} GPUs (--device), and no node of the "
        f"cluster has them. CPUs and GPUs of its nodes: {found or 'none'}"
    )


def _environment() -> dict[str, str]:
    """Where this process looks for data: a node that has a folder of that name uses it."""
    return {name: value for name, value in os.environ.items() if name.startswith("UAN_DA_")}


def _task(
    job: Job, device: str, threads: int, mailbox: Any, folder: str, environment: Mapping[str, str]
) -> bytes | None:
    """One run on whatever node this is: None where it is in the sweep's folder, else the run folder as a tar file."""
    os.environ.update(environment)
    if Path(folder).is_dir():
        os.chdir(folder)  # recipes and modules of the user's own are named from there

    def tell(event: Event) -> None:
        mailbox.put.remote(event)

    if (job.sweep / MARK).is_file():
        job.work(device, threads, tell)
        return None
    with tempfile.TemporaryDirectory() as here:
        alone = replace(job, sweep=Path(here))
        alone.work(device, threads, tell)
        return pack(alone.folder)


def _outcome(ray: Any, reference: Any, job: Job) -> Event:
    try:
        packed = ray.get(reference)
    except ray.exceptions.RayTaskError as error:
        return failure(job, error.cause)
    except ray.exceptions.RayError as error:
        return failure(job, error)
    if packed is not None:
        unpack(packed, job.folder)
    return Event("finished", job.run_id)


def pack(folder: Path) -> bytes:
    """A folder as a tar file."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, arcname=".")
    return buffer.getvalue()


def unpack(packed: bytes, folder: Path) -> None:
    """Make ``folder`` of what :func:`pack` made; ``done``, if it is there, last: half of it is never taken for all."""
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        members = [member for member in archive.getmembers() if member.name != "./done"]
        archive.extractall(folder, members, filter="data")
        if "./done" in archive.getnames():
            content = archive.extractfile("./done")
            assert content is not None
            with whole_file(folder / "done") as file:
                file.write(content.read())
