"""Train and test parts of images: as folders and tables call them, or made where there are none."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Literal

from uan_da.data.adapter import Split

SplitRule = Literal["hash", "both"]
"""``hash``: about 80 % train and 20 % test, by a hash of the image's name, so that an image stays in its part whatever
is added. ``both``: all images are both, the protocol of Office-31 and Office-Home."""

TEST_SHARE = 0.2
TRAIN = frozenset(("train", "training"))
TEST = frozenset(("test", "testing", "eval", "evaluation"))
VALIDATION = frozenset(("val", "valid", "validation", "dev"))
SMALL = (
    "images without parts of their own are split 80/20 by a hash of their names, and of a few one part may get none: "
    "to use all as both, write a card (uan-da datasets init FOLDER) and give its adapter 'split: both' ('split_rule: "
    "both' for csv_table)"
)
"""What is to be said where a split by hash leaves a part, or a class in it, empty."""


def in_split(name: str, split: Split, rule: SplitRule) -> bool:
    """Whether the image of that name is in ``split``."""
    if rule == "both":
        return True
    digest = hashlib.blake2b(name.encode("utf-8", "surrogateescape"), digest_size=8).digest()
    is_test = int.from_bytes(digest) < TEST_SHARE * 2**64
    return is_test == (split == "test")


def usual_splits(names: Iterable[str]) -> Mapping[Split, list[str]] | None:
    """Which of ``names``, of folders or in a column, are train and which are test; None where there are not both.

    Validation is part of train, of which ``selection.holdout`` takes what it needs; where there is no test, it is that.
    """
    names = sorted(names)
    train, test, validation = ([name for name in names if name.lower() in usual] for usual in (TRAIN, TEST, VALIDATION))
    found: dict[Split, list[str]] = (
        {"train": train + validation, "test": test} if test else {"train": train, "test": validation}
    )
    return found if train and found["test"] else None
