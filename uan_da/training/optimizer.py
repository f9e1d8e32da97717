"""Optimizers by name, over groups of parameters that say what learns slower and what must not decay.

``backbone_factor`` is the factor on the learning rate of the backbone."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import nn

from uan_da.models.classifier import Classifier
from uan_da.norms.affine import not_decayed

LearningRate = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Momentum = Annotated[float, Field(ge=0, lt=1)]
Factor = Annotated[float, Field(gt=0)]


def _light(method: Callable[..., Any]) -> Callable[..., Any]:
    """A method of PyTorch's without the wrapper that keeps ``torch.compile`` out of it: the wrapper imports the whole
    compiler, more than a second of each start. Only the model is ever compiled here."""
    unwrapped: Callable[..., Any] = inspect.unwrap(method)
    return unwrapped


class _Light(torch.optim.Optimizer):
    add_param_group = _light(torch.optim.Optimizer.add_param_group)
    zero_grad = _light(torch.optim.Optimizer.zero_grad)
    state_dict = _light(torch.optim.Optimizer.state_dict)
    load_state_dict = _light(torch.optim.Optimizer.load_state_dict)


class _Adam(_Light, torch.optim.Adam):
    step = torch.no_grad()(_light(torch.optim.Adam.step))


class _AdamW(_Light, torch.optim.AdamW):
    step = torch.no_grad()(_light(torch.optim.AdamW.step))


class _SGD(_Light, torch.optim.SGD):
    step = torch.no_grad()(_light(torch.optim.SGD.step))


def adam(
    modules: list[nn.Module],
    *,
    lr: LearningRate = 1e-3,
    weight_decay: NotNegative = 0.0,
    beta1: Momentum = 0.9,
    backbone_factor: Factor = 1.0,
) -> torch.optim.Optimizer:
    """Adam (Kingma & Ba, 2015); ``weight_decay`` is L2, added to the gradient."""
    groups = parameter_groups(modules, lr, weight_decay, backbone_factor)
    return _Adam(groups, betas=(beta1, 0.999), fused=_can_fuse(groups))


def adamw(
    modules: list[nn.Module],
    *,
    lr: LearningRate = 1e-3,
    weight_decay: NotNegative = 1e-2,
    beta1: Momentum = 0.9,
    backbone_factor: Factor = 1.0,
) -> torch.optim.Optimizer:
    """Adam with decoupled weight decay (Loshchilov & Hutter, 2019)."""
    groups = parameter_groups(modules, lr, weight_decay, backbone_factor)
    return _AdamW(groups, betas=(beta1, 0.999), fused=_can_fuse(groups))


def sgd(
    modules: list[nn.Module],
    *,
    lr: LearningRate = 1e-2,
    momentum: Momentum = 0.9,
    nesterov: bool = True,
    weight_decay: NotNegative = 0.0,
    backbone_factor: Factor = 1.0,
    backbone_momentum: Momentum | None = None,
) -> torch.optim.Optimizer:
    """Stochastic gradient descent with (Nesterov) momentum; ``backbone_momentum`` where the backbone's is another."""
    groups = parameter_groups(modules, lr, weight_decay, backbone_factor)
    if backbone_momentum is not None:
        for group in groups:
            group["momentum"] = backbone_momentum if group["backbone"] else momentum
    nesterov = nesterov and momentum > 0
    optimizer = _SGD(groups, lr=lr, momentum=momentum, nesterov=nesterov, fused=_can_fuse(groups))
    ready(optimizer)
    return optimizer


def ready(optimizer: torch.optim.Optimizer) -> None:
    """Give a fused SGD its momentum, of zero: PyTorch's own start leaves it unset where the first step is left out, or
    where some parameters have none yet."""
    if isinstance(optimizer, torch.optim.SGD) and optimizer.defaults["fused"]:
        for group in (group for group in optimizer.param_groups if group["momentum"]):
            for parameter in group["params"]:
                optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Go on from ``state``, fused or not as ``optimizer`` is: the state may be of another device."""
    own = [{"fused": group["fused"]} if "fused" in group else {} for group in optimizer.param_groups]
    groups = [{**saved, **fused} for saved, fused in zip(state["param_groups"], own, strict=True)]
    optimizer.load_state_dict({**state, "param_groups": groups})


def _can_fuse(groups: list[dict[str, Any]]) -> bool:
    """Whether one kernel moves all parameters; it can leave a step out on the device."""
    return all(p.device.type in ("cpu", "cuda") and p.is_floating_point() for group in groups for p in group["params"])


def parameter_groups(
    modules: list[nn.Module], lr: float, weight_decay: float, backbone_factor: float
) -> list[dict[str, Any]]:
    """All parameters of ``modules`` that are trained, in at most four groups; each says whether it is the backbone's.

    Those of a model's ``backbone`` learn at ``backbone_factor`` times the rate, as pretrained layers do beside new
    ones; a layer's ``no_weight_decay`` names the ones that follow the data's scale.
    """
    backbones = [module.backbone for module in modules if isinstance(module, Classifier)]
    pretrained = {layer for backbone in backbones for layer in backbone.modules()}
    groups: dict[tuple[bool, float], list[nn.Parameter]] = {}
    for layer in (layer for module in modules for layer in module.modules()):
        exempt = not_decayed(layer)
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.requires_grad:
                decay = 0.0 if name in exempt else weight_decay
                groups.setdefault((layer in pretrained, decay), []).append(parameter)
    return [
        {"params": group, "lr": lr * backbone_factor if backbone else lr, "weight_decay": decay, "backbone": backbone}
        for (backbone, decay), group in groups.items()
    ]
