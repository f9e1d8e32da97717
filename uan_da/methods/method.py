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

    It has one of :meth:`loss`, ``phases`` and :class:`Transfer`'s ``transfer``; how a training uses each is read in
    :mod:`uan_da.training.training`. It may also have

    - ``uses_target = False``: the batches have no target images;
    - ``reads_target_labels = True``: they have the target's labels, for an upper bound that is named so;
    - ``pretrain_epochs``: the default of ``method.pretrain_epochs``, epochs before its own;
    - ``pretrain_loss(model, batch, progress)``: the loss of those, in place of the source's cross-entropy;
    - ``phases(model)``: several :class:`Phase` a batch, in place of ``loss``;
    - ``start(model)``: called once, before its first own step;
    - ``after_step(model)``: called after each batch of its own, for moving averages;
    - ``predictor(model)``: the network that is evaluated and kept, where that is not ``model``.
    """

    views: ClassVar[tuple[View, ...]]
    """The views of a batch that :meth:`loss` reads."""

    needs: ClassVar[str]
    """What it needs beside labelled source images, in a few words."""

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of a batch."""


NOT_SHARED = ("phases", "pretrain_loss", "start", "after_step", "predictor")
"""Parts of a :class:`Method` that a :class:`Transfer` cannot have: they need a training to themselves."""


class Transfer(Protocol):
    """A method whose loss is the cross-entropy of the source plus terms of one forward of both domains.

    Such methods can be added to each other (``method.then``): they share the forward, of the weak views. So they have
    no ``views`` and none of :data:`NOT_SHARED`.
    """

    needs: ClassVar[str]

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The terms beside the source's cross-entropy; ``labels`` ``(N_S,)`` are the source's."""
