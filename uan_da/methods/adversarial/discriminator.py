"""Domain discriminators: small networks that tell source from target, and what they minimise."""

from collections.abc import Callable, Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

Smoothing = Annotated[float, Field(ge=0, le=0.5)]
"""The option for the smoothing of :func:`domain_loss`."""


def discriminator(num_inputs: int, hidden: Sequence[int], norm: bool = False) -> nn.Sequential:
    """A network from ``(N, num_inputs)`` to logits ``(N, 1)``, positive for the source.

    Each width in ``hidden`` is a linear layer, BatchNorm if ``norm``, and ReLU.
    """
    layers: list[nn.Module] = []
    for inputs, outputs in zip([num_inputs, *hidden], hidden, strict=False):
        layers += [nn.Linear(inputs, outputs), *([nn.BatchNorm1d(outputs)] if norm else []), nn.ReLU()]
    return nn.Sequential(*layers, nn.Linear([num_inputs, *hidden][-1], 1))


def judge(discriminate: Callable[[Tensor], Tensor], source: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """The discriminator's logits ``(N_S,)`` and ``(N_T,)`` for features ``(N_S, F)`` and ``(N_T, F)``.

    Both go through it together: with batch statistics of each domain alone, its BatchNorm would remove the very
    difference that it is to find.
    """
    logits = discriminate(torch.cat([source, target])).squeeze(1)
    return logits[: len(source)], logits[len(source) :]


def domain_loss(
    on_source: Tensor,
    on_target: Tensor,
    source_weight: Tensor | float = 1.0,
    target_weight: Tensor | float = 1.0,
    *,
    smoothing: float = 0.0,
) -> Tensor:
    r"""What a discriminator minimises.

    .. math:: ½\big[E(−w_S \log σ(d_S)) + E(−w_T \log(1 − σ(d_T)))\big]

    for logits d_S ``(N_S,)`` and d_T ``(N_T,)``: each domain counts half, whatever the sizes. Weights are per sample,
    of mean 1. Of the negated logits it is the loss with the domains' labels exchanged, which features minimise to
    confuse a discriminator.

    With ``smoothing`` ε (environment label smoothing, Zhang et al., ICLR 2023, arXiv:2302.00194) the domains' labels
    are 1 − ε and ε in place of 1 and 0: −(1 − ε) log σ(d) − ε log(1 − σ(d)) = −log σ(d) + ε d for the source.
    """
    source = smoothing * on_source - F.logsigmoid(on_source)
    target = -smoothing * on_target - F.logsigmoid(-on_target)
    return 0.5 * ((source_weight * source).mean() + (target_weight * target).mean())


def domain_accuracy(on_source: Tensor, on_target: Tensor) -> Tensor:
    """The part of the samples told right, averaged over the domains: ½ where the features give nothing away."""
    return 0.5 * ((on_source > 0).float().mean() + (on_target <= 0).float().mean())


def fixed(network: nn.Module) -> Callable[[Tensor], Tensor]:
    """``network`` as a function whose parameters are constants, so that only its input gets a gradient."""
    constants = {name: parameter.detach() for name, parameter in network.named_parameters()}

    def apply(x: Tensor) -> Tensor:
        output: Tensor = functional_call(network, constants, (x,))
        return output

    return apply
