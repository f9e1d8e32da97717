"""The network without adaptation: the lower bound."""

from typing import ClassVar

from uan_da.streams.method import StreamMethod


class Source(StreamMethod):
    """The trained network in evaluation mode, as it is."""

    updates: ClassVar[str] = "nothing"
