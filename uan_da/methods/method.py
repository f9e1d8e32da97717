"""What every method is."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor, nn

from uan_da.data.batch import DomainBatch, View
from uan_da.models.classifier import Classifier, Output


@dataclass(frozen=True)
class Progress:
    """How far a method is: ``step`` of its ``total`` steps are done; those of a pre-training before it do not count."""

    step: int
    total: int

    @property
    def part(self) -> float:
        """The part that is done, 0 to 1."""
        return self.step / self.total


@dataclass(frozen=True)
class Loss:
    """The loss of one batch: its named, already weighted ``terms``, whose sum is minimised, and ``metrics`` to log."""

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return sum(list(self.terms.values())[1:], next(iter(self.terms.values())))


@dataclass(frozen=True)
class Phase:
    """One of several optimizer steps on the same batch: what it minimises, the modules that it moves (none named: all),
    and how often. ``name`` goes in front of its terms in the log."""

    name: str
    loss: Callable[[Classifier, DomainBatch, Progress], Loss]
    moves: Sequence[nn.Module] = ()
    times: int = 1


class Method(Protocol):
    """An adaptation method: an ``nn.Module`` that owns what it trains or keeps beside the model, built as
    ``Method(model, num_classes, **options)`` with keyword-only options.

    It has one of ``loss``, ``phases`` and :class:`Transfer`'s ``transfer``, and may have more of what is below; how a
    training uses each is read in :mod:`uan_da.training.training`.
    """

    views: ClassVar[tuple[View, ...]]
    """The views of a batch that :meth:`loss` reads."""

    needs: ClassVar[str]
    """What it needs beside labelled source images, in a few words."""

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of a batch."""


class Transfer(Protocol):
    """A method whose loss is the cross-entropy of the source plus terms of one forward of both domains.

    Such methods can be added to each other (``method.then``): they share the forward.
    """

    needs: ClassVar[str]

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The terms beside the source's cross-entropy; ``labels`` ``(N_S,)`` are the source's."""
