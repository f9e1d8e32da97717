"""DELTA: entropy with batch renormalisation, and classes weighted by how rarely they are predicted."""

import math
from collections.abc import Iterable
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.streams.affine import AffineSteps
from uan_da.streams.method import StreamMethod, Surroundings
from uan_da.streams.methods.tbr import RenormNorm
from uan_da.streams.norm import put_norm


class DELTA(StreamMethod):
    r"""Degradation-free test-time adaptation (Zhao et al., ICLR 2023, arXiv:2301.13018).

    .. math:: \min_{γ, β} \; \mathrm{mean}_{i: H_i < E_0} \; w_i e^{E_0 - H_i} H_i, \quad w_i ∝ 1 / z_{\hat y_i}

    with TBR as the norm, E₀ = ln C / 2, and z the moving average of the predictions (DOT); w has mean 1 over the batch.
    The entropy's weight is the authors' for their entropy loss.
    """

    updates: ClassVar[str] = "γ and β of the norms, and the running statistics"
    gradients: ClassVar[bool] = True
    backwards: ClassVar[float] = 1.0
    average: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        decay: Annotated[float, Field(ge=0, le=1)] = 0.95,
        class_decay: Annotated[float, Field(ge=0, le=1)] = 0.95,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        put_norm(model, "delta", lambda bn: RenormNorm(bn, decay))
        self.affine = AffineSteps(model, surroundings.domain, "delta", lr=lr)
        self.class_decay, self.margin = class_decay, math.log(num_classes) / 2
        self.register_buffer("average", torch.full((num_classes,), 1 / num_classes, device=surroundings.device))

    def predict(self, pixels: Tensor) -> Tensor:
        """Predict the batch, then minimise its weighted entropy."""
        with self.affine.gradients(self.surroundings.seen(pixels)) as images:
            logits = self.forward_model(images).logits
            h, p = entropy(logits), logits.detach().softmax(1)
            sure = h.detach() < self.margin
            if bool(sure.any()):
                rare = 1 / self.average[p.argmax(1)]
                weight = (self.margin - h.detach()).exp() * rare / rare.mean()
                self.affine.step((h * weight)[sure].mean())
        self.average = torch.lerp(p.mean(0), self.average, self.class_decay)
        return logits.detach()

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors."""
        return self.affine.kept()
