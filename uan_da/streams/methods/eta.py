"""ETA: entropy of what is sure and new."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.streams.affine import AffineSteps
from uan_da.streams.method import StreamMethod, Surroundings

AVERAGE = 0.9


class ETA(StreamMethod):
    r"""Efficient test-time adaptation (Niu et al., ICML 2022, arXiv:2204.02610), without the anti-forgetting of EATA.

    .. math:: \min_{γ, β} \; \mathrm{mean}_{i ∈ S} \; e^{E_0 - H_i} H_i, \quad
       S = \{i: H_i < E_0, \; |\cos(p_i, \bar p)| < d\}

    with H_i the entropy of prediction p_i, E₀ = ``margin``·ln C, and p̄ the moving average of the predictions in S.
    Defaults are the authors' for CIFAR-10-C.
    """

    updates: ClassVar[str] = "γ and β of the norms"
    gradients: ClassVar[bool] = True
    backwards: ClassVar[float] = 1.0
    average: Tensor | None

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        margin: Annotated[float, Field(gt=0)] = 0.4,
        redundancy: Annotated[float, Field(gt=0)] = 0.4,
    ) -> None:
        """``redundancy``: d, the cosine above which a prediction is like those before."""
        super().__init__(model, num_classes, surroundings)
        self.affine = AffineSteps(model, surroundings.domain, "eta", lr=lr)
        self.margin, self.redundancy = margin * math.log(num_classes), redundancy
        self.register_buffer("average", None)

    def predict(self, pixels: Tensor) -> Tensor:
        """Predict the batch, then minimise the entropy of its sure and new images."""
        with self.affine.gradients(self.surroundings.seen(pixels)) as images:
            logits = self.forward_model(images).logits
            chosen = self.chosen(logits.detach())
            if bool(chosen.any()):
                h = entropy(logits[chosen])
                self.affine.step((h * (self.margin - h.detach()).exp()).mean() + self.penalty())
        return logits.detach()

    def chosen(self, logits: Tensor) -> Tensor:
        """Which predictions ``(B,)`` are sure and new; they enter the average."""
        chosen, p = entropy(logits) < self.margin, logits.softmax(1)
        if self.average is not None:
            chosen = chosen & (F.cosine_similarity(self.average[None], p, dim=1).abs() < self.redundancy)
        if bool(chosen.any()):
            mean = p[chosen].mean(0)
            self.average = mean if self.average is None else torch.lerp(mean, self.average, AVERAGE)
        return chosen

    def penalty(self) -> Tensor | float:
        """The term to add to the loss: 0."""
        return 0.0

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors."""
        return self.affine.kept()
