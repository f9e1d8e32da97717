"""EATA: ETA that does not forget."""

from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.models.classifier import Classifier
from uan_da.streams.method import Surroundings, needs_source
from uan_da.streams.methods.eta import ETA


class EATA(ETA):
    r"""Efficient anti-forgetting test-time adaptation (Niu et al., ICML 2022, arXiv:2204.02610).

    ETA's loss plus

    .. math:: β \sum_j ω_j (θ_j - θ_j^0)^2

    with ω the diagonal of the Fisher information of γ and β, the mean over batches of the squared gradient of the
    cross-entropy to the network's own predictions, on ``samples`` unlabelled source images.
    """

    updates: ClassVar[str] = "γ and β of the norms, near the source's"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        margin: Annotated[float, Field(gt=0)] = 0.4,
        redundancy: Annotated[float, Field(gt=0)] = 0.4,
        fisher: Annotated[float, Field(ge=0)] = 1.0,
        samples: Annotated[int, Field(ge=1)] = 2000,
    ) -> None:
        """``fisher``: β."""
        super().__init__(model, num_classes, surroundings, lr=lr, margin=margin, redundancy=redundancy)
        self.fisher_weight = fisher
        self.start = self.affine.snapshot()
        self.fisher = self._estimate(needs_source(surroundings, "eata")(samples))

    def penalty(self) -> Tensor | float:
        """The term that keeps γ and β near the source's."""
        terms = zip(self.fisher, self.affine.parameters.values(), self.start, strict=True)
        total: Tensor | float = sum((omega * (theta - before).square()).sum() for omega, theta, before in terms)
        return self.fisher_weight * total

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors, the Fisher information and the anchor."""
        return [*super().kept(), *self.fisher, *self.start]

    def _estimate(self, pixels: Tensor) -> list[Tensor]:
        parts = [part for part in torch.split(pixels, max(self.surroundings.batch, 2)) if len(part) > 1]
        parameters = list(self.affine.parameters.values())
        total = [torch.zeros_like(parameter) for parameter in parameters]
        for part in parts:
            with self.affine.gradients(self.surroundings.seen(part)) as images:
                logits = self.forward_model(images).logits
                loss = F.cross_entropy(logits, logits.argmax(1))
                for sum_, gradient in zip(total, torch.autograd.grad(loss, parameters), strict=True):
                    sum_ += gradient.square()
        return [each / max(len(parts), 1) for each in total]
