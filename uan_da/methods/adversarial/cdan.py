"""CDAN: the discriminator sees the features together with the classes that they are taken for."""

import math
from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from uan_da.methods.adversarial.discriminator import Smoothing, discriminator, domain_accuracy, domain_loss, judge
from uan_da.methods.adversarial.gradient_reversal import ReversalSteps, reversal_strength, reverse_gradient
from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output

LARGEST_OUTER_PRODUCT = 4096
RANDOM_WIDTH = 1024


class CDAN(TransferMethod):
    r"""Conditional domain adversarial network (Long et al., NeurIPS 2018, arXiv:1705.10667).

    .. math:: L = CE(f(x_S), y_S) + w · ½[E\,ω_S BCE(d(T(r_λ(g_S), p_S)), 1) + E\,ω_T BCE(d(T(r_λ(g_T), p_T)), 0)]

    where g are the features, p = softmax f(x), without gradient, d the discriminator and r_λ the gradient reversal. T
    is the outer product g ⊗ p, or, ``random``, (R_g g) ⊙ (R_p p) / √1024 with Gaussian matrices drawn once; ``auto`` is
    the paper's rule, random above 4096 products.

    With ``entropy_weighting`` (CDAN+E) ω ∝ 1 + e^{−H(p)}, of mean 1 in each domain, prefers sure predictions, and its
    gradient, reversed too, makes predictions surer; without it ω = 1.

    From the paper: λ over the part of the training that is done. From the authors' code: nothing of T's gradient
    reaches p; the gradient of ω. From TLLib, whose figures are the published ones: two layers of 1024 with BatchNorm,
    where the authors have dropout; no gradient of ω there. Its protocol: ``multilinear: outer`` and
    ``reversal_steps: 1000``, which is the authors' code's too.

    ``environment_smoothing`` smooths the domains' labels, as
    :func:`~uan_da.methods.adversarial.discriminator.domain_loss` says; ``sdat_radius`` is that of
    :class:`~uan_da.methods.method.Ascent`.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        entropy_weighting: bool = False,
        multilinear: Literal["auto", "outer", "random"] = "auto",
        hidden: Annotated[int, Field(ge=1, le=65536)] = 1024,
        discriminator_norm: bool = True,
        reversal_steps: ReversalSteps = None,
        reversal_high: Annotated[float, Field(ge=0)] = 1.0,
        environment_smoothing: Smoothing = 0.0,
        sdat_radius: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        self.environment_smoothing, self.sdat_radius = environment_smoothing, sdat_radius
        self.trade_off, self.entropy_weighting = trade_off, entropy_weighting
        self.reversal_steps, self.reversal_high = reversal_steps, reversal_high
        products = model.num_features * num_classes
        random = multilinear == "random" or (multilinear == "auto" and products > LARGEST_OUTER_PRODUCT)
        self.map = RandomizedMap(model.num_features, num_classes, RANDOM_WIDTH) if random else OuterProduct()
        width = RANDOM_WIDTH if random else products
        self.discriminator = discriminator(width, (hidden, hidden), discriminator_norm)

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The weighted loss of the discriminator on features and classes, the gradient reversed."""
        strength = reversal_strength(progress, self.reversal_steps, self.reversal_high)
        on_source, on_target = judge(self.discriminator, *(self._joined(each, strength) for each in (source, target)))
        weights = [self._weight(output, strength) for output in (source, target)]
        loss = domain_loss(on_source, on_target, *weights, smoothing=self.environment_smoothing)
        metrics = {"domain_accuracy": domain_accuracy(on_source, on_target), "reversal": torch.tensor(strength)}
        return Loss({"domain": self.trade_off * loss}, metrics)

    def _joined(self, output: Output, strength: float) -> Tensor:
        joined: Tensor = self.map(reverse_gradient(output.features, strength), output.logits.detach().softmax(1))
        return joined

    def _weight(self, output: Output, strength: float) -> Tensor | float:
        if not self.entropy_weighting:
            return 1.0
        weight = 1 + (-entropy(reverse_gradient(output.logits, strength))).exp()
        return weight / weight.detach().mean()


class OuterProduct(nn.Module):
    """g ⊗ p, ``(N, F·C)``, of features ``(N, F)`` and probabilities ``(N, C)``."""

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """All products of a feature and a probability."""
        return torch.einsum("nf,nc->nfc", features, probabilities).flatten(1)


class RandomizedMap(nn.Module):
    """(R_g g) ⊙ (R_p p) / √width, ``(N, width)``: its inner products are on average those of the outer products."""

    features: Tensor
    classes: Tensor

    def __init__(self, num_features: int, num_classes: int, width: int) -> None:
        super().__init__()
        self.register_buffer("features", torch.randn(num_features, width))
        self.register_buffer("classes", torch.randn(num_classes, width))

    def forward(self, features: Tensor, probabilities: Tensor) -> Tensor:
        """``width`` products of a random mix of features and a random mix of probabilities."""
        return (features @ self.features) * (probabilities @ self.classes) / math.sqrt(self.features.shape[1])
