"""One training at a time in a run folder."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from uan_da.errors import UserError
from uan_da.files import PARTIAL

LOCK = "lock"
"""The file that is locked. It says nothing by being there: a process that dies, however, leaves the lock."""

_held: set[int] = set()


def _let_go() -> None:
    """A child would keep its parent's lock, and a loader's workers may outlive their parent by seconds."""
    for number in _held:
        os.close(number)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Makes ``folder`` where there is none, and keeps others from training in it; what it made and nobody used is
    removed.

    Raises:
        UserError: another process trains in it, or it cannot be written.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    number = _lock(folder)
    _held.add(number)
    try:
        yield
    finally:
        if folder.is_dir() and is_empty(folder):
            (folder / LOCK).unlink()
            _remove_empty(missing)
        _held.remove(number)
        os.close(number)


def is_empty(folder: Path) -> bool:
    """Whether nothing is in ``folder`` but what a training leaves that was killed before it began."""
    return all(path.name == LOCK or path.name.endswith(PARTIAL) for path in folder.iterdir())


def _remove_empty(folders: Sequence[Path]) -> None:
    """The inner one first; one that others use by now stays."""
    try:
        for folder in folders:
            folder.rmdir()
    except OSError:
        return


def _lock(folder: Path) -> int:
    path = folder / LOCK
    try:
        folder.mkdir(parents=True, exist_ok=True)
        number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NONBLOCK, 0o666)  # a FIFO is not waited for
    except OSError as error:
        raise UserError(f"{folder}: cannot be written: {error.strerror}. Choose another --out") from error
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.path.samestat(os.fstat(number), path.stat()):
            return number
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(number)
    raise UserError(f"{folder}: another process trains in it. Wait for its end, or choose another --out")
