"""What a layer's forward needs to know of its caller: a trace, a backward, autocast."""

import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, fx

Forward = Callable[[Any, Tensor], Tensor]


def fx_leaf(forward: Forward) -> Forward:
    """Make the ``forward`` of a layer one node of an fx graph, as that of torch's own layers is.

    A feature extractor then calls the layer, whose checks and branches need a real input.
    """

    @functools.wraps(forward)
    def call(layer: Any, x: Tensor) -> Tensor:
        if isinstance(x, fx.Proxy):
            path = x.tracer.path_of_module(layer)
            return x.tracer.create_proxy("call_module", path, (x,), {})
        return forward(layer, x)

    return call


def in_backward() -> bool:
    """Whether this forward computes activations anew for a backward (activation checkpointing).

    It must see the state that the first forward saw, and leave it alone.
    """
    return torch._C._current_graph_task_id() != -1


def widened(x: Tensor) -> Tensor:
    """``x`` in float32 where it has half precision."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def without_autocast(x: Tensor) -> AbstractContextManager[None]:
    """A context in which autocast leaves the operations on ``x`` alone."""
    # PyTorch 2.11 cannot compile the first question, which is of devices that nothing is compiled for
    available = torch.compiler.is_compiling() or torch.amp.is_autocast_available(x.device.type)
    if available and torch.is_autocast_enabled(x.device.type):
        return torch.autocast(x.device.type, enabled=False)
    return nullcontext()
