"""Random numbers as a function of what they are for.

Every random choice of a training is drawn from a generator that is seeded by the run's seed, a name and the step. There
is no random state to save: a run that goes on from step 500 draws what the uninterrupted one drew.
"""

import hashlib

import torch


def fold(seed: int, *names: str | int) -> int:
    """A seed that is a function of ``seed`` and ``names``, and unrelated for any two of them."""
    digest = hashlib.blake2b(repr((seed, *names)).encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1  # 63 bits: torch's seeds are signed


def seed_everything(seed: int, device: torch.device) -> None:
    """As ``torch.manual_seed``, which takes half a millisecond to find no GPU, where none is trained on."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def generator(seed: int, *names: str | int) -> torch.Generator:
    """A CPU generator seeded by :func:`fold`."""
    return torch.Generator().manual_seed(fold(seed, *names))
