"""The derivatives of the operators, their types, and which layers they serve."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from uan_da.norms import UAN, UAN2d
from uan_da.norms.running import Running
from uan_da.norms.uan.clusters import Clusters, State, Step
from uan_da.norms.uan.kernels import ops

Make = Callable[..., UAN]
BOTH = pytest.mark.parametrize("assignment", ["sample", "element"])


def train(
    assignment: str, x: Tensor, *rest: Any, balance: float = 0.0, sharpness: float = 3.0
) -> tuple[Tensor, Tensor, Step, Running]:
    """(x, μ, log σ², logits of λ, γ, β, the evidence given) → y, the evidence, and EM's step and the running statistics
    after it, which start from nothing."""
    clusters, affine, given = Clusters(*rest[:3]), rest[3:5], rest[5] if len(rest) > 5 else None
    scalars = ops.Scalars(1e-2, balance, sharpness if assignment == "sample" else None, None, 0.1)
    like = clusters.mean.detach()
    step = Step(*(torch.zeros_like(parameter).detach() for parameter in clusters))
    mass = torch.zeros_like(like if assignment == "element" else like[:, :1])
    running = Running(torch.zeros_like(like), torch.ones_like(like), mass, torch.tensor(0))
    state = State(clusters, torch.tensor(1), affine, step, running)
    y, evidence = ops.train(x, state, given, True, True, True, scalars)
    return y, evidence, step, running


def draw(k: int, starved: bool) -> list[Tensor]:
    torch.manual_seed(k)
    clusters = [torch.randn(k, 2), (torch.rand(k, 2) + 0.5).log(), torch.randn(k)]
    if starved:
        clusters[0][0] += 12.0
    inputs = [torch.randn(3, 2, 2), *clusters, torch.randn(2), torch.randn(2)]
    return [x.double().requires_grad_() for x in inputs]


@pytest.mark.parametrize(
    ("assignment", "k", "starved"),
    [
        *(("sample", k, starved) for k, starved in [(1, False), (2, False), (3, False), (3, True)]),
        *(("element", 3, starved) for starved in (False, True)),
        *(pytest.param("element", k, False, marks=pytest.mark.slow) for k in (1, 2)),  # kernels of their own
    ],
)
def test_gradient_and_second_gradient(assignment: str, k: int, starved: bool) -> None:
    inputs = draw(k, starved)
    *_, step, running = train(assignment, *inputs)
    assert (running.mass.min() == 0) == starved
    assert not any(value.requires_grad for value in (*step, *running))
    assert running.batches == 1

    def y(*inputs: Tensor) -> Tensor:
        return train(assignment, *inputs)[0]

    assert torch.autograd.gradcheck(y, inputs)
    assert torch.autograd.gradgradcheck(y, inputs)


@pytest.mark.parametrize("sharpness", [3.0, 0.0])
@pytest.mark.parametrize("wanted", [(0,), (1,), (0, 1)], ids=["y", "evidence", "both"])
def test_evidence_given_and_handed_on(sharpness: float, wanted: tuple[int, ...]) -> None:
    """Of a layer that adds its own, and of one that does not."""
    inputs = [*draw(3, False), torch.randn(3, 3).double().requires_grad_()]

    def outputs(*inputs: Tensor) -> tuple[Tensor, ...]:
        found = train("sample", *inputs, sharpness=sharpness)
        return tuple(found[i] for i in wanted)

    assert torch.autograd.gradcheck(outputs, inputs)
    assert torch.autograd.gradgradcheck(outputs, inputs)


@BOTH
@pytest.mark.parametrize("balance", [0.0, 1.0, 3.0])
@pytest.mark.parametrize("factor", [None, 1.0, 0.0])
@pytest.mark.parametrize("has_bias", [True, False])
def test_gains_and_biases(assignment: str, balance: float, factor: float | None, has_bias: bool) -> None:
    inputs = draw(3, False)[:4]
    affine = {
        "weight": None if factor is None else factor * torch.randn(2),
        "bias": torch.randn(2) if has_bias else None,
    }
    given = {name: p.double().requires_grad_() for name, p in affine.items() if p is not None}

    def y(*inputs: Tensor) -> Tensor:
        found = dict(zip(given, inputs[4:], strict=True))
        return train(assignment, *inputs[:4], found.get("weight"), found.get("bias"), balance=balance)[0]

    assert torch.autograd.gradcheck(y, (*inputs, *given.values()))


@BOTH
def test_a_gain_that_depends_on_a_prior(assignment: str) -> None:
    """A scale of 1/√λ: the second gradient counts no path twice."""
    x, *clusters, weight, bias = draw(3, False)

    def y(x: Tensor, logits: Tensor) -> Tensor:
        return train(assignment, x, *clusters[:2], logits, weight, bias, balance=1.0)[0]

    assert torch.autograd.gradcheck(y, (x, clusters[2]))
    assert torch.autograd.gradgradcheck(y, (x, clusters[2]))


@BOTH
@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_gradients_keep_their_digits_at_an_offset(
    assignment: Any, offset: float, trained: Make, assert_equal: Callable[..., None]
) -> None:
    torch.manual_seed(0)
    layer = trained(UAN2d(4, num_clusters=3, sharpness=5.0, assignment=assignment), 16, 4, 6, 6)
    with torch.no_grad():
        layer.mean += offset
    assert_equal(layer, torch.randn(16, 4, 6, 6) * 2 + 1 + offset, torch.randn(16, 4, 6, 6), 1e-5)


@BOTH
@pytest.mark.parametrize("parameters", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("scale", ["none", "prior"])
def test_gradients_have_the_types_of_what_they_are_of(assignment: Any, parameters: torch.dtype, scale: Any) -> None:
    torch.manual_seed(0)
    layer = UAN2d(4, sharpness=3.0, assignment=assignment, scale=scale, em_rate=0.0)
    x, g = torch.randn(2, 8, 4, 3, 3)
    layer(x)
    layer.to(parameters)
    twins = [layer, copy.deepcopy(layer).float()]
    for twin in twins:
        leaf = x.clone().requires_grad_()
        twin(leaf).backward(g)
        assert leaf.grad is not None
        assert leaf.grad.dtype == x.dtype
    for (name, half), wide in zip(twins[0].named_parameters(), twins[1].parameters(), strict=True):
        assert half.grad is not None
        assert half.grad.dtype == parameters
        tolerance = max(torch.finfo(parameters).eps, 1e-5)
        torch.testing.assert_close(half.grad.float(), wide.grad, atol=tolerance, rtol=4 * tolerance, msg=name)


@BOTH
def test_a_backward_under_autocast_is_not_narrowed(assignment: Any, trained: Make) -> None:
    torch.manual_seed(0)
    layer, gradients = trained(UAN2d(4, sharpness=3.0, assignment=assignment), 8, 4, 3, 3), []
    layer.updates_statistics = False
    x, g = torch.randn(2, 8, 4, 3, 3)
    for enabled in (False, True):
        leaf = x.clone().requires_grad_()
        y = layer(leaf)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            gradients.append(torch.autograd.grad(y, [leaf, *layer.parameters()], g))
    for plain, autocast in zip(*gradients, strict=True):
        assert torch.equal(plain, autocast)


@BOTH
def test_a_step_of_the_bias_and_the_clusters_disturbs_no_pending_backward(assignment: Any, trained: Make) -> None:
    """No gradient needs their values any more, as none of BatchNorm's needs its bias."""
    torch.manual_seed(0)
    layer, gradients = trained(UAN2d(4, assignment=assignment), 8, 4, 3, 3), []
    layer.updates_statistics = False
    x, g = torch.randn(2, 8, 4, 3, 3)
    y, other = layer(x), layer(x)
    for pending in (y, other):
        gradients.append(torch.autograd.grad(pending, list(layer.parameters()), g))
        with torch.no_grad():
            for name in ("mean", "log_var", "prior_logits", "bias"):
                layer.get_parameter(name).add_(1.0)
    for first, second in zip(*gradients, strict=True):
        assert torch.equal(first, second)


@BOTH
@pytest.mark.parametrize("frozen", ["x", "clusters", "affine", "all but the bias"])
def test_what_is_frozen_changes_no_other_gradient(assignment: Any, frozen: str, trained: Make) -> None:
    torch.manual_seed(0)
    layer = UAN2d(4, num_clusters=3, sharpness=3.0, assignment=assignment, dtype=torch.float64)
    layer = trained(layer, 8, 4, 3, 3)
    layer.updates_statistics = False
    x, g = torch.randn(2, 8, 4, 3, 3, dtype=torch.float64)
    named = {"x": x.requires_grad_(), **dict(layer.named_parameters())}
    whole = dict(zip(named, torch.autograd.grad(layer(x), list(named.values()), g), strict=True))
    groups = {"x": {"x"}, "clusters": {"mean", "log_var", "prior_logits"}, "affine": {"weight", "bias"}}
    groups["all but the bias"] = set(named) - {"bias"}
    for name in groups[frozen]:
        named.pop(name).requires_grad_(False)
    for again in (False, True):  # to be differentiated
        found = torch.autograd.grad(layer(x), list(named.values()), g, create_graph=again)
        for name, gradient in zip(named, found, strict=True):
            torch.testing.assert_close(gradient, whole[name], rtol=0, atol=1e-12 if again else 0)


class First(torch.nn.Module):
    """One number for all channels, in memory only once."""

    def forward(self, weight: Tensor) -> Tensor:
        return weight[:1].expand(len(weight))


@BOTH
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_a_parameter_of_any_strides_is_read_as_what_it_is(assignment: Any, name: str) -> None:
    torch.manual_seed(0)
    layer = UAN2d(3, num_clusters=3, assignment=assignment, dtype=torch.float64)
    x = torch.randn(8, 3, 4, 4, dtype=torch.float64)
    layer(x)
    expected = copy.deepcopy(layer)
    with torch.no_grad():
        layer.get_parameter(name).copy_(torch.tensor([2.0, 5.0, 7.0]))
        expected.get_parameter(name).fill_(2.0)
    torch.nn.utils.parametrize.register_parametrization(layer, name, First())
    torch.testing.assert_close(layer(x), expected(x))


@BOTH
@pytest.mark.parametrize(
    ("options", "training", "served"),
    [
        ({}, True, True),
        ({"scale": "unit", "affine": False}, True, True),
        ({"bias": False, "momentum": None}, True, True),
        ({"track_running_stats": False}, False, True),
        ({"sync": True}, True, True),
        ({}, False, False),
        ({"moments": "learned"}, True, False),
        ({"backend": "reference"}, True, False),
        ({"shrink": 0.5}, True, False),
    ],
)
def test_whom_they_serve(
    assignment: Any, options: dict[str, Any], training: bool, served: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "shrink" in options:
        assignment = "sample"
    calls, original = [], ops.train

    def spy(*args: Any) -> Any:
        calls.append(args)
        return original(*args)

    monkeypatch.setattr(ops, "train", spy)
    UAN2d(3, assignment=assignment, **options).train(training)(torch.randn(4, 3, 2, 2))
    assert bool(calls) == served
