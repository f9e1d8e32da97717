"""What is done for each domain, on a thread each."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier
from typing import TypeVar

import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def side_by_side(function: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """``function`` of each item, in their order, a thread each; together they use the threads that PyTorch may use.

    Augmentation is many small operations, in which a second thread gains little: two domains on a thread each take half
    as long. Where PyTorch has one thread all happens on the caller's.
    """
    todo = list(items)
    workers = min(len(todo), torch.get_num_threads())
    if workers <= 1:
        return [function(item) for item in todo]
    return list(_pool(workers, torch.get_num_threads()).map(function, todo))


@cache
def _pool(workers: int, threads: int) -> ThreadPoolExecutor:
    """So many workers, among which PyTorch's threads are divided."""
    pool = ThreadPoolExecutor(workers, initializer=_use, initargs=(threads // workers,))
    all_there = Barrier(workers)
    list(pool.map(lambda _: all_there.wait(), range(workers)))
    # PyTorch's setting holds for the thread that makes it and for all that start later: those shall have the old one.
    torch.set_num_threads(threads)
    return pool


def _use(threads: int) -> None:
    torch.set_num_threads(threads)
    torch.get_num_threads()  # the first question is what makes a thread take on the setting, for good
