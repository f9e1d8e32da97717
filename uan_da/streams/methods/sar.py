"""SAR: sharpness-aware entropy of what is sure, and recovery."""

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

AVERAGE = 0.9


class SAR(StreamMethod):
    r"""Sharpness-aware and reliable entropy minimisation (Niu et al., ICLR 2023, arXiv:2302.12400).

    .. math:: \min_{θ} \; \mathrm{mean}_{i ∈ S} H_i(θ + ε), \quad ε = ρ\, g / ‖g‖, \quad
       g = ∇_θ \mathrm{mean}_{i: H_i < E_0} H_i(θ)

    over γ and β, by SGD with momentum 0.9; S are the images whose entropy stays below E₀ = ``margin``·ln C at θ + ε.
    Where the moving average of the loss falls below ``recovery``, γ and β return to the source's. The authors leave the
    last stage of a ResNet alone; here all norms move, as no rule names the last stage of any network. ρ = 0.05.
    """

    updates: ClassVar[str] = "γ and β of the norms"
    gradients: ClassVar[bool] = True
    forwards: ClassVar[float] = 2.0
    backwards: ClassVar[float] = 2.0

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        margin: Annotated[float, Field(gt=0)] = 0.4,
        rho: Annotated[float, Field(gt=0)] = 0.05,
        recovery: Annotated[float, Field(ge=0)] = 0.2,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        self.affine = AffineSteps(model, surroundings.domain, "sar", lr=lr, sgd=True)
        self.margin, self.rho, self.recovery = margin * math.log(num_classes), rho, recovery
        self.start, self.average = self.affine.snapshot(), math.nan

    def predict(self, pixels: Tensor) -> Tensor:
        """Predict the batch, then train γ and β."""
        with self.affine.gradients(self.surroundings.seen(pixels)) as images:
            logits = self.forward_model(images).logits
            h = entropy(logits)
            self._move(images, h, h < self.margin)
        if self.average < self.recovery:
            self.affine.restore(self.start)
            self.average = math.nan
        return logits.detach()

    def _move(self, images: Tensor, h: Tensor, sure: Tensor) -> None:
        parameters: list[Tensor] = list(self.affine.parameters.values())
        gradient = torch.autograd.grad(_mean(h, sure), parameters)
        length = torch.stack([each.norm() for each in gradient]).norm() + 1e-12
        climb = [self.rho * each / length for each in gradient]
        with torch.no_grad():
            torch._foreach_add_(parameters, climb)
        h = entropy(self.forward_model(images).logits)
        still = sure & (h < self.margin)
        loss = _mean(h, still)
        gradient = torch.autograd.grad(loss, parameters)
        if bool(still.any()):
            self.average = loss.item() if math.isnan(self.average) else AVERAGE * self.average + 0.1 * loss.item()
        with torch.no_grad():
            torch._foreach_sub_(parameters, climb)
        for parameter, each in zip(parameters, gradient, strict=True):
            parameter.grad = each
        self.affine.optimizer.step()
        self.affine.optimizer.zero_grad(set_to_none=True)

    def kept(self) -> Iterable[Tensor]:
        """The optimizer's tensors, and the source's γ and β."""
        return [*self.affine.kept(), *self.start]


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Of the chosen values; 0 of none, so that momentum alone moves the parameters, as in the authors' code."""
    return (values * chosen).sum() / chosen.sum().clamp_min(1)
