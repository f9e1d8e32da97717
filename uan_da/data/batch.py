"""What a method sees of one step."""

from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

View = Literal["weak", "strong"]


@dataclass(frozen=True)
class DomainImages:
    """The images of one side of a batch.

    ``views``: the weakly and, if the method asked for it, the strongly augmented images, float ``(N, C, H, W)``;
    ``labels`` int64 ``(N,)``, −1 where masked or unknown; ``domain`` int64 ``(N,)``, the index of each image's domain.
    """

    views: dict[View, Tensor]
    labels: Tensor
    domain: Tensor

    @property
    def weak(self) -> Tensor:
        """The weakly augmented view ``(N, C, H, W)``."""
        return self.views["weak"]

    @property
    def strong(self) -> Tensor:
        """The strongly augmented view ``(N, C, H, W)``, of methods that list ``strong`` in their ``views``."""
        return self.views["strong"]

    @classmethod
    def cat(cls, parts: list[Self]) -> Self:
        """Several domains as one side."""
        views = {view: torch.cat([part.views[view] for part in parts]) for view in parts[0].views}
        labels, domain = (torch.cat([getattr(part, name) for part in parts]) for name in ("labels", "domain"))
        return cls(views, labels, domain)


@dataclass(frozen=True)
class DomainBatch:
    """Labelled source and unlabelled target: all of the target's labels are −1."""

    source: DomainImages
    target: DomainImages
