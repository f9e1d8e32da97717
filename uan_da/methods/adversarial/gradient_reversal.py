"""Gradient reversal: one backward pass trains a discriminator, and the features to confuse it."""

import math
from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.method import Progress

ReversalSteps = Annotated[int, Field(ge=1)] | None
"""The option for the pace of :func:`reversal_strength`: a number of steps, or None for the part of the training."""


def reverse_gradient(x: Tensor, strength: float) -> Tensor:
    """``x``, whose gradient is multiplied by −``strength`` on the way back."""
    reversed_x: Tensor = _Reverse.apply(x, strength)
    return reversed_x


def reversal_strength(progress: Progress, steps: int | None = None, high: float = 1.0) -> float:
    r"""How strong the reversal is; it grows from 0 to ``high``, as a discriminator has little to say at first.

    .. math:: λ = h · \Big(\frac{2}{1 + e^{−x}} − 1\Big), \quad x = 10p \;\text{or}\; i/n

    with the part p of the training that is done (Ganin et al., 2016), or, where ``steps`` = n is given, the number i
    of the method's steps that are done (TLLib and the authors' code of CDAN and MDD, n = 1000), whatever the
    training's length: λ is h/2 after 0.11 of it, or after 1.1·n steps.
    """
    x = 10 * progress.part if steps is None else progress.step / steps
    return high * (2 / (1 + math.exp(-x)) - 1)


class _Reverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * grads[0], None
