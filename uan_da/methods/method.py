"""What every method is."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from torch import Tensor

from uan_da.data.batch import DomainBatch, View
from uan_da.models.classifier import Classifier


@dataclass(frozen=True)
class Loss:
    """The loss of one batch: its named, already weighted ``terms``, whose sum is minimised, and ``metrics`` to log."""

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return sum(list(self.terms.values())[1:], next(iter(self.terms.values())))


class Method(Protocol):
    """An adaptation method: an ``nn.Module`` that owns what it trains beside the model, built as
    ``Method(model, num_classes, **options)`` with keyword-only options."""

    views: ClassVar[Sequence[View]]
    """The views of a batch that :meth:`loss` reads."""

    def loss(self, model: Classifier, batch: DomainBatch, progress: float) -> Loss:
        """The loss of a batch; ``progress`` is the part of the training that is done, 0 to 1."""
