"""How far a long reading is, for whoever shows it."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

Progress = Callable[[int, int | None], None]
"""Called with what is done and, where it is known, the whole: bytes of a download, images of a data set."""
Start = Callable[[str], Progress]
"""Called with the name of a part; returns what shows its progress."""
T = TypeVar("T")


def silent(done: int, total: int | None) -> None:
    """Shows nothing."""


def unseen(name: str) -> Progress:
    """Shows nothing of any part."""
    return silent


def counted(items: Iterable[T], total: int, progress: Progress) -> Iterator[T]:
    """The items, each counted when it is there."""
    for done, item in enumerate(items, start=1):
        progress(done, total)
        yield item
