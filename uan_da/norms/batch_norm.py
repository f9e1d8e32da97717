"""Batch normalisation: the layer that every other norm takes the place of."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm as BatchNorm

__all__ = ["AffineNorm", "BatchNorm", "copy_affine", "learned_moments", "options_of", "type_of"]


def options_of(bn: BatchNorm) -> dict[str, Any]:
    """The arguments of the constructor of a layer that replaces ``bn``, beside its number of channels."""
    return {
        "eps": bn.eps,
        "momentum": bn.momentum,
        "affine": bn.affine,
        "track_running_stats": bn.running_mean is not None,
        "bias": bn.bias is not None or not bn.affine,
        **type_of(bn),
    }


def type_of(bn: BatchNorm) -> dict[str, Any]:
    """The ``device`` and ``dtype`` of ``bn``, None where it has no tensor."""
    state = next((tensor for tensor in (bn.weight, bn.running_mean) if tensor is not None), None)
    return {"device": None, "dtype": None} if state is None else {"device": state.device, "dtype": state.dtype}


def learned_moments(bn: BatchNorm) -> tuple[Tensor, Tensor] | None:
    """Mean and variance ``(C,)`` of the data that ``bn`` has seen; None if it has seen none, or keeps none. Old
    checkpoints have no count of batches, so the statistics themselves are looked at too. On the device ``meta`` there
    is no data."""
    mean, var, batches = bn.running_mean, bn.running_var, bn.num_batches_tracked
    if mean is None or var is None or mean.is_meta:
        return None
    counted = batches is not None and bool(batches > 0)
    return (mean, var) if counted or bool((mean != 0).any()) or bool((var != 1).any()) else None


def copy_affine(norm: nn.Module, layer: nn.Module) -> None:
    """Give ``layer`` copies of γ and β of ``norm``; each is None where ``norm`` has none."""
    for name in ("weight", "bias"):
        parameter = getattr(norm, name)
        if parameter is not None:
            copied = parameter.detach().clone()
            parameter = nn.Parameter(copied, requires_grad=parameter.requires_grad)
        setattr(layer, name, parameter)


class AffineNorm(nn.Module):
    """A layer with γ and β ``(C,)``: copies of those of ``norm``, or None."""

    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def __init__(self, norm: nn.Module | None) -> None:
        super().__init__()
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)
        if norm is not None:
            copy_affine(norm, self)

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """γ = 1 and β = 0, where the layer has them."""
        if self.weight is not None:
            self.weight.fill_(1.0)
        if self.bias is not None:
            self.bias.fill_(0.0)
