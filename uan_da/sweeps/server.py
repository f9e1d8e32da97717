"""The process that runs are forked from: it imports once what each of them would import.

It imports nothing here, so that a command can start it first, and do its own imports meanwhile.
"""

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext

PRELOAD = ("uan_da.sweeps.work", "torch._dynamo", "sklearn.datasets")
"""No CUDA context comes of them: a run that is forked can make its own."""
LIBRARIES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""One thread each: a process with threads of its own is not safe to fork. PyTorch's are set in each run."""


def start_server() -> ForkServerContext:
    """Start the server if it is not there yet, without waiting for it; processes of the context are forked from it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOAD))
    before = {name: os.environ.get(name) for name in LIBRARIES}
    os.environ.update(dict.fromkeys(LIBRARIES, "1"))
    try:
        with _deaf_to_ctrl_c():
            forkserver.ensure_running()
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    return context


@contextmanager
def _deaf_to_ctrl_c() -> Iterator[None]:
    """A process that starts inside the block ignores Ctrl-C: interrupted in its imports, it would print a traceback."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL if before is None else before)  # None: not set by Python


def hears_ctrl_c() -> bool:
    """Whether this process does; one in the background of a shell may not."""
    return signal.getsignal(signal.SIGINT) is not signal.SIG_IGN


def hear_ctrl_c() -> None:
    """In a process that was forked from the server: Ctrl-C is KeyboardInterrupt again."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
