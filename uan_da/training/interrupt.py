"""Ctrl-C, SIGTERM and SIGHUP, answered between two steps."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):
    """The training was asked to stop, and did so after a whole step; ``exit_code`` is 130, 143 or 129."""

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.exit_code = 128 + number


class StopRequest:
    """Which signal, if any, asked for an end."""

    number: int | None = None

    def note(self, number: int, frame: FrameType | None) -> None:
        """The signal handler: a second signal of the kind finds Python's own handler, and ends at once."""
        self.number = number
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def noticing_signals() -> Iterator[StopRequest]:
    """Notes these signals instead of being ended by them (in the main thread, where signals arrive). One that is
    ignored, as SIGHUP is under ``nohup``, stays so."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    heard = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, request.note) for number in heard}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
