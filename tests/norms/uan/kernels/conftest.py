"""A fused layer against the plain one, on the same state and data."""

import copy
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from uan_da.norms import UAN


def _trained(layer: UAN, *shape: int, batches: int = 2) -> UAN:
    generator = torch.Generator().manual_seed(1)
    for _ in range(batches):
        layer(torch.randn(shape, generator=generator, dtype=layer.mean.dtype) * 2 + 1)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype) * 0.2)
    return layer


def _run(layer: UAN, x: Tensor, g: Tensor, backend: str) -> dict[str, Tensor]:
    layer, x = copy.deepcopy(layer), x.detach().requires_grad_()
    layer.options = replace(layer.options, backend=backend)  # type: ignore[arg-type]
    y = layer(x)
    y.backward(g)
    assert x.grad is not None
    named = {f"d {name}": p.grad for name, p in layer.named_parameters() if p.grad is not None}
    return {"y": y.detach(), "d x": x.grad, **named, **dict(layer.named_buffers())}


def _assert_equal(layer: UAN, x: Tensor, g: Tensor, tolerance: float, backend: str = "auto") -> None:
    fast, plain = _run(layer, x, g, backend), _run(layer, x, g, "reference")
    exact = _run(copy.deepcopy(layer).double(), x.double(), g.double(), "reference")
    assert fast.keys() == plain.keys()
    for name, expected in exact.items():
        error, rounding = ((side[name].double() - expected.double()).abs().max() for side in (fast, plain))
        assert error <= tolerance * expected.double().abs().max().clamp_min(1.0) + 4 * rounding, name
        assert fast[name].dtype == plain[name].dtype, name


@pytest.fixture
def trained() -> Callable[..., UAN]:
    """``trained(layer, *shape)``: clusters, running statistics and parameters away from where they start."""
    return _trained


@pytest.fixture
def run() -> Callable[[UAN, Tensor, Tensor, str], dict[str, Tensor]]:
    """``run(layer, x, g, backend)``: output, every gradient and every buffer of one step."""
    return _run


@pytest.fixture
def assert_equal() -> Callable[..., None]:
    """``assert_equal(layer, x, g, tolerance, backend="auto")``: the backend and the plain layer agree.

    Within the tolerance of the largest value of each tensor (or of 1, the size of y and g), beyond what
    rounding does to the plain layer itself: a gradient may be a small difference of large terms."""
    return _assert_equal
