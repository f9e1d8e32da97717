"""The protocol by which a data set serves its domains."""

from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from uan_da.errors import UserError

Pixels = NDArray[np.uint8]
Split = Literal["train", "test"]
UNKNOWN = -1
"""The label of an image whose class is masked or not known."""


class MissingData(UserError):
    """A file or folder of a data set is not there."""


class Examples(Protocol):
    """A map-style data set of pairs ``(image, label)``; labels are indices into ``classes``, or −1."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Image.Image, int]: ...


class Adapter(Protocol):
    """Serves the domains of one data set, which share their classes."""

    @property
    def domains(self) -> Sequence[str]:
        """The names of the domains."""

    @property
    def classes(self) -> Sequence[str]:
        """The names of the classes, in the order of the labels."""

    def load(self, domain: str, split: Split) -> Examples:
        """The examples of one domain and split."""


def labels_of(examples: Examples) -> Tensor:
    """All labels ``(N,)``, int64; without opening an image where the examples have them as ``labels``."""
    known: Any = getattr(examples, "labels", None)
    if known is None:
        known = [examples[index][1] for index in range(len(examples))]
    return torch.as_tensor(known, dtype=torch.int64)


class Arrays:
    """Examples from an array of images ``(N, H, W)`` or ``(N, H, W, 3)`` and labels ``(N,)``."""

    labels: NDArray[np.int64]

    def __init__(self, images: Pixels, labels: NDArray[Any]) -> None:
        assert len(images) == len(labels)
        self._images, self.labels = images, labels.astype(np.int64)

    @property
    def images(self) -> Pixels:
        """All of them."""
        return self._images

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), int(self.labels[index])
