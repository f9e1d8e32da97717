"""Eager, compiled and reference agree: outputs, gradients and state, whatever the options, layout and shape."""

import copy
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from uan_da.norms import UAN
from uan_da.norms.uan.depth import assign_together


def cases(element_clusters: tuple[int, ...]) -> dict[str, st.SearchStrategy[Any]]:
    """Arguments of :func:`check`; each number of clusters of elements has kernels of its own, which take seconds to
    compile."""
    assignments = st.one_of(
        st.tuples(st.just("sample"), st.integers(1, 4), st.integers(0, 2)),
        st.tuples(st.just("element"), st.sampled_from(element_clusters), st.just(0)),
    )
    rest = {
        "scale": st.sampled_from(["none", "prior", "unit"]),
        "affine": st.booleans(),
        "bias": st.booleans(),
        "momentum": st.sampled_from([0.1, None]),
        "em_rate": st.sampled_from([0.0, 0.1, 1.0]),
        "sharpness": st.sampled_from([1.0, 20.0]),
        "track_running_stats": st.booleans(),
    }
    return {
        "assignment": assignments,
        "options": st.fixed_dictionaries(rest),
        "shape": st.tuples(st.integers(2, 5), st.integers(1, 20), st.lists(st.integers(1, 7), min_size=1, max_size=3)),
        "channels_last": st.booleans(),
        "offset": st.sampled_from([0.0, 1e3]),
        "frozen": st.booleans(),
        "seed": st.integers(0, 99),
    }


def outcome(layers: Sequence[UAN], x: Tensor, g: Tensor, how: str) -> dict[str, Tensor]:
    """Output, gradients and state of one step of training."""
    model, x = nn.Sequential(*copy.deepcopy(layers)), x.detach().requires_grad_()
    for layer in model:
        layer.options = replace(layer.options, backend="reference" if how == "reference" else "auto")
    run: Any = torch.compile(model, backend="aot_eager", fullgraph=True) if how == "compiled" else model
    y = run(x)
    y.backward(g)
    assert x.grad is not None
    gradients = {f"d {name}": torch.zeros_like(p) if p.grad is None else p.grad for name, p in model.named_parameters()}
    return {"y": y.detach(), "d x": x.grad, **gradients, **model.state_dict()}


def check(
    other: str,
    assignment: tuple[Any, int, int],
    options: dict[str, Any],
    shape: tuple[int, int, list[int]],
    channels_last: bool,
    offset: float,
    frozen: bool,
    seed: int,
) -> None:
    """Three steps in double precision, each from the reference's state before it; of D layers that give evidence, and
    of one more that takes it."""
    torch.manual_seed(seed)
    samples, channels, positions = shape
    kind, clusters, depth = assignment
    options = {**options, "assignment": kind, "num_clusters": clusters, "depth": depth}
    layers = [UAN(channels, eps=1e-3, dtype=torch.float64, **options) for _ in range(depth + 1)]
    if depth:
        assign_together(layers)
    for layer in layers:
        layer.log_var.requires_grad_(not frozen)
    last = {2: torch.channels_last, 3: torch.channels_last_3d}.get(len(positions)) if channels_last else None
    for _ in range(3):
        x, g = torch.randn(2, samples, channels, *positions, dtype=torch.float64)
        x = (x * 2 + offset).contiguous(memory_format=last or torch.contiguous_format)
        expected, found = (outcome(layers, x, g, how) for how in ("reference", other))
        assert expected.keys() == found.keys()
        for name, value in expected.items():
            tolerance = 1e-10 * value.abs().max().clamp_min(1.0).item() * max(1.0, offset / 10)
            torch.testing.assert_close(found[name], value, rtol=0, atol=tolerance, msg=f"{name}: {other}")
        model = nn.Sequential(*layers)
        model.load_state_dict({name: expected[name] for name in model.state_dict()})


@settings(max_examples=25, deadline=None, derandomize=True)
@given(**cases((3,)))
def test_eager(**case: Any) -> None:
    check("eager", **case)


@settings(max_examples=2, deadline=None, derandomize=True)
@given(**cases((3,)))
def test_compiled(**case: Any) -> None:
    torch.compiler.reset()
    check("compiled", **case)


@pytest.mark.slow
@settings(max_examples=400, deadline=None)
@given(**cases((1, 2, 3, 4)))
def test_eager_at_length(**case: Any) -> None:
    check("eager", **case)


@pytest.mark.slow
@settings(max_examples=40, deadline=None)
@given(**cases((1, 2, 3, 4)))
def test_compiled_at_length(**case: Any) -> None:
    torch.compiler.reset()
    check("compiled", **case)
