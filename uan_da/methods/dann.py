"""Domain-adversarial training: features that a discriminator cannot tell apart by domain."""

import math
from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.batch import DomainBatch, View
from uan_da.methods.method import Loss
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier


class DANN(nn.Module):
    r"""Domain-adversarial neural network (Ganin et al., JMLR 2016, arXiv:1505.07818).

    .. math:: L = CE(f(x_S), y_S) + w · ½[BCE(d(r_λ(g(x_S))), 1) + BCE(d(r_λ(g(x_T))), 0)]

    where g are the features, d the discriminator, and r_λ the gradient reversal: the identity forward, −λ times the
    gradient backward, with λ(p) = 2 / (1 + e^{−10p}) − 1 over the training's progress p.
    """

    views: ClassVar[tuple[View, ...]] = ("weak",)

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        hidden: Annotated[int, Field(ge=1)] = 256,
        routing: Routing = "joint",
    ) -> None:
        super().__init__()
        self.trade_off, self.routing = trade_off, routing
        self.discriminator = nn.Sequential(
            nn.Linear(model.num_features, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, 1),
        )

    def loss(self, model: Classifier, batch: DomainBatch, progress: float) -> Loss:
        """The loss of one batch: source classification and, through the reversal, domain discrimination."""
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, self.routing)
        strength = 2 / (1 + math.exp(-10 * progress)) - 1
        on_source = self.discriminator(reverse_gradient(source.features, strength)).squeeze(1)
        on_target = self.discriminator(reverse_gradient(target.features, strength)).squeeze(1)
        domain = 0.5 * (
            F.binary_cross_entropy_with_logits(on_source, torch.ones_like(on_source))
            + F.binary_cross_entropy_with_logits(on_target, torch.zeros_like(on_target))
        )
        terms = {
            "source": F.cross_entropy(source.logits, batch.source.labels),
            "domain": self.trade_off * domain,
        }
        accuracy = 0.5 * ((on_source > 0).float().mean() + (on_target <= 0).float().mean())
        return Loss(terms, {"domain_accuracy": accuracy, "reversal": torch.tensor(strength)})


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """``x``, whose gradient is multiplied by −``strength`` on the way back."""
    reversed_x: Tensor = _Reverse.apply(x, strength)
    return reversed_x


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grads[0], None
