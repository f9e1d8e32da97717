"""The gradient of a hand-derived backward where it is to be differentiated again: that of the plain formulas."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def recorded_gradients(
    plain: Callable[..., tuple[Tensor, ...]], inputs: Sequence[Tensor | None], gradients: Sequence[Tensor]
) -> tuple[Tensor | None, ...]:
    """Gradients of ``plain(*inputs)`` with respect to its inputs, None where none is wanted, from those of its outputs;
    autograd records how they came about.

    The inputs count as independent, even where one has been computed from another."""
    inputs = [None if x is None else x.view_as(x) for x in inputs]
    wanted = [x for x in inputs if x is not None and x.requires_grad]
    if not wanted:
        return (None,) * len(inputs)
    found = iter(torch.autograd.grad(plain(*inputs), wanted, gradients, create_graph=True, allow_unused=True))
    return tuple(next(found) if x is not None and x.requires_grad else None for x in inputs)
