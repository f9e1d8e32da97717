"""The gradient of a training step in plain operations, which autograd can differentiate again."""

import torch
from torch import Tensor

from uan_da.norms.forward import widened, without_autocast
from uan_da.norms.uan.assignment import BATCHES, Affine
from uan_da.norms.uan.clusters import Clusters, mixture_of
from uan_da.norms.uan.mixture import gain_of

Scalars = tuple[float, float, float | None]
"""ε, the balance of f, and T."""


def recorded(
    of_outputs: tuple[Tensor, Tensor | None],
    x: Tensor,
    clusters: Clusters,
    affine: tuple[Tensor | None, Tensor | None],
    given: Tensor | None,
    scalars: Scalars,
) -> tuple[Tensor | None, ...]:
    """From the gradients of y and of the evidence, those of x, μ, log σ², λ's logits, γ, β and the evidence given. They
    count as independent, and autograd records how they came about."""
    x, clusters = x.view_as(x), Clusters(*(tensor.view_as(tensor) for tensor in clusters))
    weight, bias, given = (None if tensor is None else tensor.view_as(tensor) for tensor in (*affine, given))
    with without_autocast(x):
        outputs = _formulas(x, clusters, (weight, bias), given, *scalars)
    inputs = x, *clusters, weight, bias, given
    wanted = [tensor for tensor in inputs if tensor is not None and tensor.requires_grad]
    pairs = zip(outputs, of_outputs, strict=True)
    reached = [(out, g) for out, g in pairs if out is not None and out.requires_grad and g is not None]
    ends, gradients = zip(*reached, strict=True)
    found = iter(torch.autograd.grad(ends, wanted, gradients, create_graph=True, allow_unused=True))
    return tuple(next(found) if tensor is not None and tensor.requires_grad else None for tensor in inputs)


def _formulas(
    x: Tensor,
    clusters: Clusters,
    affine: tuple[Tensor | None, Tensor | None],
    given: Tensor | None,
    eps: float,
    balance: float,
    sharpness: float | None,
) -> tuple[Tensor, Tensor | None]:
    """y and the evidence."""
    wide, (weight, bias) = widened(x), affine
    batch = BATCHES["element" if sharpness is None else "sample"](wide, mixture_of(clusters, wide.dtype), eps)
    tau, evidence = batch.assign(given, sharpness or 0.0)
    moments = batch.moments(tau)
    gain = Affine(gain_of(batch.mixture.log_prior, weight, balance), bias, None)
    return batch.normalize(tau, (moments.mean, moments.var), gain).to(x.dtype), evidence
