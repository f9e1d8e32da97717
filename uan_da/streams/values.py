"""Reads and checks the lists among the options of ``uan-da stream``."""

from typing import Literal

from uan_da.errors import UserError
from uan_da.names import unknown
from uan_da.streams.setting import SETTINGS, Setting

MAX_BATCH = 200
MOST_SEEDS = 10_000


def settings_of(text: str) -> list[Setting]:
    """``mixed,single`` as settings."""
    found: list[Setting] = []
    for name in text.split(","):
        known = next((setting for setting in SETTINGS if setting == name), None)
        if known is None:
            raise UserError(f"--setting: {unknown('setting', name, SETTINGS)}")
        found.append(known)
    return found


def batches_of(text: str) -> list[int]:
    """``64,8,1`` as batch sizes, 1 to 200."""
    sizes = _integers("--batch", text)
    for size in sizes:
        if not 1 <= size <= MAX_BATCH:
            raise UserError(f"--batch: expected sizes from 1 to {MAX_BATCH}, but got {size}")
    return sizes


def seeds_of(text: str) -> list[int]:
    """``0..2`` and ``0,1,2`` as seeds."""
    first, dots, last = text.partition("..")
    if not dots:
        return _integers("--seed", text)
    (start,), (stop,) = _integers("--seed", first), _integers("--seed", last)
    if stop < start:
        raise UserError(f"--seed: expected a range such as 0..2, but got {text!r}")
    if stop - start >= MOST_SEEDS:
        raise UserError(f"--seed: a range has at most {MOST_SEEDS:,} seeds, but got {text!r}")
    return list(range(start, stop + 1))


def split_of(text: str) -> Literal["train", "test"]:
    """``train`` or ``test``."""
    if text == "train":
        return "train"
    if text == "test":
        return "test"
    raise UserError(f"--split: expected train or test, but got {text!r}")


def _integers(option: str, text: str) -> list[int]:
    try:
        return [int(part) for part in text.split(",")]
    except ValueError:
        raise UserError(f"{option}: expected whole numbers such as 0,1,2, but got {text!r}") from None
