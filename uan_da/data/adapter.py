"""The protocol by which a data set serves its domains."""

from collections.abc import Sequence
from typing import Literal, Protocol

from PIL.Image import Image

Split = Literal["train", "test"]
UNKNOWN = -1
"""The label of an image whose class is masked or not known."""


class Examples(Protocol):
    """A map-style data set of pairs ``(image, label)``; labels are indices into ``classes``, or −1."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> tuple[Image, int]: ...


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
