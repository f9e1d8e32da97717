"""Train and test parts of images that come without them."""

import hashlib
from typing import Literal

from uan_da.data.adapter import Split

SplitRule = Literal["hash", "both"]
"""``hash``: about 80 % train and 20 % test, by a hash of the image's name, so that an image stays in its part whatever
is added. ``both``: all images are both, the protocol of Office-31 and Office-Home."""

TEST_SHARE = 0.2


def in_split(name: str, split: Split, rule: SplitRule) -> bool:
    """Whether the image of that name is in ``split``."""
    if rule == "both":
        return True
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    is_test = int.from_bytes(digest) < TEST_SHARE * 2**64
    return is_test == (split == "test")
