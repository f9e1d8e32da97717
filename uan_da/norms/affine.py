"""The affine parameters of a model's norms, and forwards in which the norms alone are in training mode."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, runtime_checkable

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm
from torch.nn.modules.instancenorm import _InstanceNorm as InstanceNorm

from uan_da.norms.baselines.layer import ChannelLayerNorm
from uan_da.norms.domain import DomainNorm, modules_for
from uan_da.norms.norm import Norm
from uan_da.norms.recalibrate import changed, frozen_statistics
from uan_da.norms.running import MixtureLayer

KINDS = BatchNorm | InstanceNorm | nn.GroupNorm | nn.LayerNorm | ChannelLayerNorm | DomainNorm | MixtureLayer | Norm
"""Layers that normalise."""


@runtime_checkable
class FollowsScale(Protocol):
    """A layer with parameters that follow the scale of the data, such as cluster means: weight decay, which pulls to 0,
    would pull them away from it."""

    no_weight_decay: tuple[str, ...]
    """Their names."""


def not_decayed(layer: object) -> tuple[str, ...]:
    """The names of the parameters of ``layer`` that follow the scale of the data. Networks of timm and open_clip have a
    method of the same name, which is for their own optimizers."""
    if isinstance(layer, FollowsScale) and not callable(layer.no_weight_decay):
        return layer.no_weight_decay
    return ()


def affine_parameters(model: nn.Module, domain: int) -> dict[str, nn.Parameter]:
    """γ and β of every norm of ``model``, by their paths; frozen ones (``requires_grad`` False) do not count.

    Args:
        model: any module.
        domain: of a norm that has a branch for each domain, only the branch of this one counts.
    """
    return {
        f"{path}.{name}": parameter
        for path, layer in modules_for(model, domain)
        if isinstance(layer, KINDS)
        for name, parameter in layer.named_parameters(recurse=False)
        if name in ("weight", "bias") and parameter.requires_grad
    }


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Inside the block norms normalise by the batch at hand, as in training, and all else is in evaluation mode.

    No running statistic and no cluster changes; the model's mode comes back after it.
    """
    modes = [(module, "training", isinstance(module, KINDS)) for module in model.modules()]
    with changed(modes), frozen_statistics(model):
        yield
