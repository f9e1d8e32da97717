"""What a method sees of one step."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor

from uan_da.data.adapter import UNKNOWN

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

    def masked(self) -> Self:
        """The same without labels."""
        return replace(self, labels=torch.full_like(self.labels, UNKNOWN))

    def none(self) -> Self:
        """No image, of the same kind."""
        views = {view: images[:0] for view, images in self.views.items()}
        return replace(self, views=views, labels=self.labels[:0], domain=self.domain[:0])

    @classmethod
    def cat(cls, parts: list[Self]) -> Self:
        """Several domains as one side."""
        if len(parts) == 1:
            return parts[0]
        views = {view: torch.cat([part.views[view] for part in parts]) for view in parts[0].views}
        labels, domain = (torch.cat([getattr(part, name) for part in parts]) for name in ("labels", "domain"))
        return cls(views, labels, domain)


@dataclass(frozen=True)
class DomainBatch:
    """Labelled source and unlabelled target: all of the target's labels are −1."""

    source: DomainImages
    target: DomainImages
