"""Optimizers by name, over groups of parameters that say what must not decay."""

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

LearningRate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]


def adam(
    modules: list[nn.Module],
    *,
    lr: LearningRate = 1e-3,
    weight_decay: NotNegative = 0.0,
    beta1: Momentum = 0.9,
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba, 2015); ``weight_decay`` is L2, added to the gradient."""
    return torch.optim.Adam(parameter_groups(modules, weight_decay), lr=lr, betas=(beta1, 0.999))


def adamw(
    modules: list[nn.Module],
    *,
    lr: LearningRate = 1e-3,
    weight_decay: NotNegative = 1e-2,
    beta1: Momentum = 0.9,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""
    return torch.optim.AdamW(parameter_groups(modules, weight_decay), lr=lr, betas=(beta1, 0.999))


def sgd(
    modules: list[nn.Module],
    *,
    lr: LearningRate = 1e-2,
    momentum: Momentum = 0.9,
    nesterov: bool = True,
    weight_decay: NotNegative = 0.0,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum."""
    groups = parameter_groups(modules, weight_decay)
    return torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov and momentum > 0)


def parameter_groups(modules: list[nn.Module], weight_decay: float) -> list[dict[str, object]]:
    """All parameters of ``modules``; a layer's ``no_weight_decay`` names the ones that follow the data's scale."""
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for layer in (layer for module in modules for layer in module.modules()):
        exempt = getattr(layer, "no_weight_decay", ())
        for name, parameter in layer.named_parameters(recurse=False):
            (kept if name in exempt else decayed).append(parameter)
    groups: list[dict[str, object]] = [{"params": decayed, "weight_decay": weight_decay}]
    return groups + ([{"params": kept, "weight_decay": 0.0}] if kept else [])
