"""``--devices N``: a command line in several processes of one machine."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import IO

from uan_da.training.distributed import JOINED, LAUNCHER

Process = subprocess.Popen[bytes]

PATIENCE = 120.0
"""Seconds that the first process has, to save and to say what happened, once another has ended."""

PATIENCE_AT_START = 5.0
"""Seconds that it has before all have found each other: there is nothing to save, and it may be about to tell of the
same mistake. It would wait for the other one for hours."""

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def launch(arguments: Sequence[str], count: int) -> int:
    """Run ``uan-da`` with ``arguments`` in ``count`` processes, which find each other as those of ``torchrun`` do.

    Only the first one prints. Where another one fails first, its message is printed too.

    Returns:
        The exit code of the first process that failed; 0 where none did.
    """
    with ExitStack() as stack:
        port, errors = _free_port(), [stack.enter_context(tempfile.TemporaryFile()) for _ in range(count)]
        joined = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "joined"
        processes = [_start(arguments, rank, count, port, joined, error) for rank, error in enumerate(errors)]
        stack.callback(_end, processes)
        with _forwarding_signals(processes):
            failed = _wait(processes, joined)
        if failed is None:
            return 0
        code = processes[failed].returncode
        told = processes[0].returncode == 2  # of the same mistake of the user's; beyond 128 are signals
        if failed > 0 and 0 < code < 128 and not told:
            errors[failed].seek(0)
            print(f"process {failed}: {errors[failed].read().decode(errors='replace').strip()}", file=sys.stderr)
        if code < 0:
            why = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
            ended = f"process {failed} was ended by {signal.Signals(-code).name}{why}"
            print(f"{ended}; {'--resume continues' if joined.exists() else 'nothing was trained'}", file=sys.stderr)
        return code if code > 0 else 128 - code


def _start(arguments: Sequence[str], rank: int, count: int, port: int, joined: Path, errors: IO[bytes]) -> Process:
    """In a session of its own, so that Ctrl-C reaches it through :func:`_forwarding_signals` alone, once."""
    place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    threads = {"OMP_NUM_THREADS": max(1, (os.cpu_count() or 1) // count)}
    environment = {key: str(value) for key, value in threads.items()} | os.environ
    environment |= {key: str(value) for key, value in place.items()} | {LAUNCHER: str(os.getpid())}
    if rank == 0:
        environment[JOINED] = str(joined)
    return subprocess.Popen(
        [sys.executable, "-m", "uan_da", *arguments],
        env=environment,
        stdout=None if rank == 0 else subprocess.DEVNULL,
        stderr=None if rank == 0 else errors,
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as place:
        place.bind(("127.0.0.1", 0))
        port: int = place.getsockname()[1]
        return port


def _wait(processes: Sequence[Process], joined: Path) -> int | None:
    """The number of the first process that failed, once the first of all has ended; None where none did.

    What the others do is nothing without the first, and the first can do little without them.
    """
    failed, until = None, float("inf")
    while processes[0].poll() is None and time.monotonic() < until:
        if failed is None:
            failed = next((rank for rank, each in enumerate(processes) if each.poll() not in (None, 0)), None)
            if failed is not None:
                until = time.monotonic() + (PATIENCE if joined.exists() else PATIENCE_AT_START)
        time.sleep(0.05)
    return 0 if failed is None and processes[0].returncode else failed


def _end(processes: Sequence[Process]) -> None:
    """The first process, the only one that writes, has ended, or is beyond hope."""
    for each in processes:
        each.kill()
        each.wait()


@contextmanager
def _forwarding_signals(processes: Sequence[Process]) -> Iterator[None]:
    """What this process is sent, its processes are sent."""

    def forward(number: int, frame: FrameType | None) -> None:
        for each in processes:
            each.send_signal(number)

    before = {number: signal.signal(number, forward) for number in SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
