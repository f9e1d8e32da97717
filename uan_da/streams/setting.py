"""The order of a stream's images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from uan_da.seeding import fold

Setting = Literal["single", "continual", "gradual", "mixed", "correlated", "mixed_correlated"]
"""As in mariodoebler/test-time-adaptation:

- ``single``: one domain after another, the method starts anew at each;
- ``continual``: one after another, and nobody says when one ends;
- ``gradual``: the same, each domain at severities 1, 2, … 5, … 2, 1;
- ``mixed``: all domains' images shuffled into one stream;
- ``correlated``: continual, each domain's images sorted by class;
- ``mixed_correlated``: all domains' images together, sorted by class.
"""

SETTINGS: tuple[Setting, ...] = ("single", "continual", "gradual", "mixed", "correlated", "mixed_correlated")
GRADUAL = (1, 2, 3, 4, 5, 4, 3, 2, 1)

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Segment:
    """A part of a stream: the ``domain`` of each image and its ``index`` in the domain. No batch crosses its end.

    ``reset``: the method is reset before this part.
    """

    domain: Indices
    index: Indices
    reset: bool

    def __len__(self) -> int:
        return len(self.index)


def segments(labels: Sequence[Indices], setting: Setting, seed: int, gamma: float | None = None) -> list[Segment]:
    """The stream of the domains whose labels are ``labels``; a function of the arguments.

    Args:
        labels: the labels of each domain's images, in their order.
        setting: see :data:`Setting`; ``gradual`` is ``continual`` over domains that are given at each severity.
        seed: the seed of the shuffling.
        gamma: for correlated settings: the classes have proportions drawn from a Dirichlet distribution with this
            parameter (small: strongly correlated); without it, images are sorted by class.
    """
    mixed = setting in ("mixed", "mixed_correlated")
    correlated = setting in ("correlated", "mixed_correlated")
    random = np.random.default_rng(fold(seed, "stream", "order"))
    parts = [random.permutation(len(each)) for each in labels]
    domain = np.concatenate([np.full(len(part), number) for number, part in enumerate(parts)])
    index = np.concatenate(parts)
    if mixed:
        order = random.permutation(len(index))
        domain, index, groups = domain[order], index[order], [np.arange(len(index))]
    else:
        groups = [np.flatnonzero(domain == number) for number in range(len(parts))]
    stream = []
    for number, indices in enumerate(groups):
        if correlated:
            classes = np.array([labels[domain[place]][index[place]] for place in indices])
            indices = indices[by_class(classes, gamma, random)]
        stream.append(Segment(domain[indices], index[indices], reset=setting == "single" and number > 0))
    return stream


def by_class(classes: Indices, gamma: float | None, random: np.random.Generator) -> Indices:
    """An order of the images in which neighbours tend to share a class.

    Without ``gamma``, images are sorted by class. With it, the stream has as many slots as classes, the images of a
    class are divided among the slots in proportions from Dirichlet(γ, …, γ), and each slot is shuffled.
    """
    present = np.unique(classes)
    if gamma is None:
        return np.argsort(classes, kind="stable")
    slots: list[list[Indices]] = [[] for _ in present]
    for label in present:
        own = np.flatnonzero(classes == label)
        shares = random.dirichlet(np.full(len(present), gamma))
        ends = np.floor(shares.cumsum()[:-1] * len(own)).astype(np.int64)
        for slot, part in zip(slots, np.split(own, ends), strict=True):
            slot.append(part)
    return np.concatenate([random.permutation(np.concatenate(slot)) for slot in slots])
