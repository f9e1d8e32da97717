"""The operators of UAN: what PyTorch's compiler and autograd see of a training step."""

from typing import Any

import torch
from torch import Tensor

from uan_da.norms.tracing import in_backward
from uan_da.norms.uan.clusters import Clusters, Step, advanced

_library: Any = torch.library.Library("uan_da", "DEF")  # type: ignore[no-untyped-call]

_library.define("moves(Tensor initialized) -> Tensor")
_library.define(
    "advance(Tensor x, Tensor mean, Tensor log_var, Tensor prior_logits, Tensor step_mean, Tensor step_var, "
    "Tensor step_prior, Tensor initialized, float eps) -> (Tensor, Tensor, Tensor, Tensor)"
)


def moves(initialized: Tensor) -> Tensor:
    """Whether state may move, as a tensor on the device of ``initialized``: not in a recomputation. A compiled forward
    asks when it runs."""
    result: Tensor = torch.ops.uan_da.moves(initialized)
    return result


def advance(x: Tensor, clusters: Clusters, step: Step, initialized: Tensor, eps: float) -> tuple[Clusters, Tensor]:
    """:func:`uan_da.norms.uan.clusters.advanced`; a compiled backward keeps its results and does not work them out
    anew, from parameters that have moved since."""
    *after, started = torch.ops.uan_da.advance(x, *clusters, *step, initialized, eps)
    return Clusters(*after), started


def _moves(initialized: Tensor) -> Tensor:
    return torch.full_like(initialized, not in_backward(), dtype=torch.bool)


def _advance(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    clusters, step, initialized, eps = Clusters(*rest[:3]), Step(*rest[3:6]), rest[6], rest[7]
    if in_backward():
        return tuple(tensor.clone() for tensor in (*clusters, initialized))
    after, started = advanced(x, clusters, step, initialized, eps)
    return *after, started


_library.impl("moves", _moves, "CompositeExplicitAutograd")
_library.impl("advance", _advance, "CompositeExplicitAutograd")


def _fake_moves(initialized: Tensor) -> Tensor:
    return torch.empty_like(initialized, dtype=torch.bool)


def _fake_advance(x: Tensor, *rest: Any) -> tuple[Tensor, ...]:
    return tuple(torch.empty_like(tensor) for tensor in (*rest[:3], rest[6]))


torch.library.register_fake("uan_da::moves", _fake_moves, lib=_library)
torch.library.register_fake("uan_da::advance", _fake_advance, lib=_library)
