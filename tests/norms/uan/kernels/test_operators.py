"""The operators against the plain layer."""

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.func import functional_call, stack_module_state
from torch.utils.checkpoint import checkpoint

from uan_da.norms import UAN, UAN2d, frozen_statistics
from uan_da.norms.uan.kernels import ops, serving

Make = Callable[..., UAN]
Run = Callable[[UAN, Tensor, Tensor, str], dict[str, Tensor]]
AssertEqual = Callable[..., None]

BOTH = pytest.mark.parametrize("assignment", ["sample", "element"])
OPTIONS: list[dict[str, Any]] = [
    {"assignment": assignment, **options}
    for assignment in ("sample", "element")
    for options in (
        {},
        {"scale": "prior"},
        {"scale": "unit", "sharpness": 3.0},
        {"moments": "learned"},
        {"affine": False},
        {"bias": False},
        {"track_running_stats": False, "em_rate": 0.0},
    )
] + [{"shrink": 0.5}, {"shrink": 0.3, "learn_shrink": False, "shrink_groups": 2}]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_float64(
    options: dict[str, Any],
    training: bool,
    layout: torch.memory_format,
    trained: Make,
    assert_equal: AssertEqual,
) -> None:
    torch.manual_seed(0)
    layer = trained(UAN2d(6, num_clusters=3, dtype=torch.float64, **options), 5, 6, 3, 4).train(training)
    x = (torch.randn(5, 6, 3, 4, dtype=torch.float64) * 2 + 1).contiguous(memory_format=layout)
    assert_equal(layer, x, torch.randn_like(x), 1e-10)


@BOTH
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.tuples(st.integers(2, 6), st.integers(1, 6), st.integers(2, 9), st.integers(1, 9)),
    clusters=st.integers(1, 3),
    training=st.booleans(),
    seed=st.integers(0, 1000),
)
def test_float32(
    assignment: Any,
    shape: tuple[int, ...],
    clusters: int,
    training: bool,
    seed: int,
    trained: Make,
    assert_equal: AssertEqual,
) -> None:
    torch.manual_seed(seed)
    layer = UAN2d(shape[1], num_clusters=clusters, sharpness=5.0, eps=1e-3, assignment=assignment)
    layer = trained(layer, 8, shape[1], 4, 4)
    assert_equal(layer.train(training), torch.randn(shape) * 2 + 1, torch.randn(shape), 1e-5)


@BOTH
@pytest.mark.parametrize("shape", [(4, 3, 6), (4, 3, 6, 2, 2), (1, 3, 6)])
def test_other_ranks(assignment: Any, shape: tuple[int, ...], trained: Make, assert_equal: AssertEqual) -> None:
    torch.manual_seed(0)
    layer = trained(UAN(3, num_clusters=3, dtype=torch.float64, assignment=assignment), *shape)
    x, g = torch.randn(2, *shape, dtype=torch.float64)
    assert_equal(layer, x, g, 1e-10)


@BOTH
def test_odd_strides(assignment: Any, trained: Make, assert_equal: AssertEqual) -> None:
    torch.manual_seed(0)
    layer = trained(UAN2d(3, num_clusters=3, dtype=torch.float64, assignment=assignment), 5, 3, 4, 4)
    x, g = torch.randn(2, 5, 6, 8, 4, dtype=torch.float64)[:, :, ::2, 2:-2].transpose(3, 4)
    assert_equal(layer, x, g[..., :1].expand_as(g), 1e-10)


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_float32_inside(
    assignment: Any, dtype: torch.dtype, trained: Make, assert_equal: AssertEqual
) -> None:
    torch.manual_seed(0)
    layer = trained(UAN2d(4, assignment=assignment), 8, 4, 5, 5)
    x, g = torch.randn(2, 8, 4, 5, 5).to(dtype)
    assert_equal(layer, x, g, 2 * torch.finfo(dtype).eps)


@BOTH
@pytest.mark.parametrize("offset", [1e3, 1e4])
def test_float32_keeps_its_digits_at_an_offset(assignment: Any, offset: float) -> None:
    torch.manual_seed(0)
    layer = UAN2d(3, num_clusters=3, assignment=assignment, em_rate=0.0)  # a step of μ in float32 is rounded by 1e-3
    x = torch.randn(16, 3, 8, 8) + offset
    layer(x)
    exact = copy.deepcopy(layer).double()
    assert layer.running_var is not None
    assert exact.running_var is not None
    assert (layer(x) - exact(x.double())).abs().max() < 1e-5
    torch.testing.assert_close(layer.running_var, exact.running_var.float(), rtol=1e-5, atol=0)


@pytest.mark.parametrize("clusters", [2, 3, 4])
@pytest.mark.parametrize("spread", [30.0, 1e3])
def test_clusters_far_apart(spread: float, clusters: int) -> None:
    """Of elements: in float32 as in plain float64, where likelihoods differ by up to e^(2 000 000)."""
    torch.manual_seed(0)
    layer = UAN2d(3, num_clusters=clusters, assignment="element", em_rate=0.0)
    with torch.no_grad():
        layer.start_mixture(torch.zeros(3), torch.ones(3))
        layer.mean.copy_(spread * (torch.arange(clusters) - 1.0)[:, None])
        layer.log_var.zero_()
    x = (torch.randn(12, 3, 8, 8) + spread * torch.randint(-1, clusters - 1, (12, 3, 8, 8))).requires_grad_()
    exact = UAN2d(3, num_clusters=clusters, assignment="element", em_rate=0.0, backend="reference", dtype=torch.float64)
    exact.load_state_dict(layer.state_dict())
    wide, g = x.detach().double().requires_grad_(), torch.randn_like(x)
    y, z = layer(x), exact(wide)
    (found,), (true,) = torch.autograd.grad(y, x, g), torch.autograd.grad(z, wide, g.double())
    tolerance = 4 * spread * torch.finfo(torch.float32).eps  # of x itself, in units of σ
    torch.testing.assert_close(y.double(), z, rtol=0, atol=tolerance)
    torch.testing.assert_close(found.double(), true, rtol=0, atol=10 * tolerance)


@pytest.mark.parametrize("bad", [float("inf"), float("nan")])
@pytest.mark.parametrize("clusters", [2, 3])
def test_what_is_not_finite_is_of_no_cluster(bad: float, clusters: int) -> None:
    """Its responsibilities are NaN, as those of a softmax: no mass is made up."""
    layer = UAN2d(2, assignment="element", num_clusters=clusters)
    layer.start_mixture(torch.zeros(2), torch.ones(2))
    x = torch.randn(4, 2, 5, 5)
    x[1, 0, 2, 3] = bad
    y = layer(x)
    assert not y[:, 0].isfinite().any()
    assert y[:, 1].isfinite().all()
    assert layer.running_mass is not None
    assert not layer.running_mass[:, 0].any()
    assert layer.running_mass[:, 1].all()
    assert not layer.step_mean[:, 0].any()
    assert layer.step_mean[:, 1].all()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"shrink": 0.5},
        {"moments": "learned"},
        {"assignment": "element", "num_clusters": 3},
        {"assignment": "element", "moments": "learned"},
    ],
    ids=str,
)
def test_gradient_and_second_gradient(options: dict[str, Any], trained: Make) -> None:
    torch.manual_seed(0)
    layer = trained(UAN2d(2, dtype=torch.float64, sharpness=2.0, **options), 4, 2, 2, 2)
    layer.updates_statistics = False
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    names = [name for name, _ in layer.named_parameters()]

    def forward(x: Tensor, *values: Tensor) -> Tensor:
        assert serving.serves(x, x.dtype)
        out: Tensor = torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))
        return out

    assert torch.autograd.gradcheck(forward, (x, *layer.parameters()))
    assert torch.autograd.gradgradcheck(forward, (x, *layer.parameters()))


@BOTH
def test_backward_twice_and_without_a_gradient_for_x(assignment: Any) -> None:
    torch.manual_seed(0)
    layer = UAN2d(2, num_clusters=3, dtype=torch.float64, assignment=assignment)
    x = torch.randn(3, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    y = layer(x).square().sum()
    first, second = (torch.autograd.grad(y, [x, layer.mean], retain_graph=True) for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
    alone = copy.deepcopy(layer)
    alone(x.detach()).square().sum().backward()
    assert alone.mean.grad is not None


@BOTH
def test_x_is_the_only_large_tensor_that_is_saved(assignment: Any) -> None:
    layer = UAN2d(8, assignment=assignment)
    saved: list[Tensor] = []
    x = torch.randn(16, 8, 32, 32, requires_grad=True)

    def pack(tensor: Tensor) -> Tensor:
        saved.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    large = [tensor for tensor in saved if tensor.numel() >= x.numel()]
    assert [tensor.data_ptr() for tensor in large] == [x.data_ptr()]
    assert sum(tensor.numel() for tensor in saved) < 1.1 * x.numel()


@BOTH
@pytest.mark.parametrize("then", ["nothing", "backward", "weight", "second"])
def test_nothing_outlives_a_step(assignment: Any, then: str) -> None:
    layer = UAN2d(2, assignment=assignment)
    gc.disable()
    try:
        leaf = torch.randn(3, 2, 2, 2, requires_grad=True)
        x = leaf * 1
        alive = weakref.ref(x)
        y = layer(x)
        if then == "backward":
            y.sum().backward()
        elif then == "weight":
            torch.autograd.grad(y.sum(), layer.weight)
        elif then == "second":
            torch.autograd.grad(y.square().sum(), leaf, create_graph=True)[0].sum().backward()
        del x, y
        assert alive() is None
    finally:
        gc.enable()


@BOTH
def test_a_checkpointed_layer_has_second_gradients(assignment: Any) -> None:
    layer = UAN2d(2, assignment=assignment)
    x = torch.randn(6, 2, 3, 3, requires_grad=True)
    layer(x)
    with frozen_statistics(layer):
        y = checkpoint(layer, x, use_reentrant=False)
        (first,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(first.square().sum(), x)
        (plain,) = torch.autograd.grad(layer(x).square().sum(), x, create_graph=True)
        torch.testing.assert_close(first, plain)
        torch.testing.assert_close(second, torch.autograd.grad(plain.square().sum(), x)[0])


@BOTH
def test_several_layers_train_at_once_under_vmap(assignment: Any) -> None:
    layers = [UAN2d(2, assignment=assignment) for _ in range(3)]
    x = torch.randn(3, 6, 2, 3, 3)
    for layer, images in zip(layers, x, strict=True):
        layer(images)
    parameters, buffers = stack_module_state(layers)
    together = torch.func.vmap(lambda p, b, one: functional_call(layers[0], (p, b), (one,)))(parameters, buffers, x)
    for layer, images, y in zip(layers, x, together, strict=True):
        torch.testing.assert_close(layer(images), y)


@BOTH
def test_what_has_to_see_plain_operations_gets_the_reference(assignment: Any) -> None:
    torch.manual_seed(0)
    layer = UAN2d(2, assignment=assignment)
    x = torch.randn(5, 2, 3, 3)
    layer(x)
    layer.eval()
    torch.testing.assert_close(torch.func.vmap(lambda one: layer(one[None])[0])(x), layer(x))
    compiled = torch.compile(layer, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), layer(x))
    assert not serving.serves(torch.randn(5, 2), torch.float32)
    assert not serving.serves(torch.randn(0, 2, 3), torch.float32)
    assert not serving.serves(x, torch.float64)
    assert not serving.serves(x.double(), torch.float32)
    assert serving.serves(x, torch.float32)
    assert serving.serves(x.half(), torch.float32)


@pytest.mark.parametrize(("sharpness", "is_given"), [(2.0, False), (2.0, True), (0.0, True), (None, False)])
@pytest.mark.parametrize("training", [True, False])
def test_opcheck(sharpness: float | None, is_given: bool, training: bool) -> None:
    """PyTorch's own checks of an operator: schema, autograd, shapes, tracing."""
    torch.manual_seed(0)
    x = torch.randn(4, 3, 5, 2).contiguous(memory_format=torch.channels_last).requires_grad_(training)
    clusters = [torch.randn(3, 3), torch.randn(3, 3), torch.randn(3)]
    parameters = [p.requires_grad_() for p in (*clusters, torch.randn(3), torch.randn(3))]
    step, running = (
        [0.1 * torch.rand_like(p) for p in clusters],
        [torch.randn(3, 3), torch.rand(3, 3), torch.ones(3, 3 if sharpness is None else 1)],
    )
    given = torch.randn(4, 3).requires_grad_(training) if is_given else None
    scalars = ops.Scalars(1e-3, 1.0, sharpness, 0.1, 0.1)
    torch.library.opcheck(torch.ops.uan_da.train.default, (x, *parameters, given, step, running, True, *scalars))


def test_opcheck_of_the_state() -> None:
    """And of what a compiled forward asks."""
    clusters, initialized = (torch.randn(2, 3), torch.randn(2, 3), torch.randn(2)), torch.tensor(0)
    torch.library.opcheck(torch.ops.uan_da.start.default, (torch.randn(4, 3, 5), *clusters, initialized, 1e-5, True))
    torch.library.opcheck(torch.ops.uan_da.move.default, (*clusters, [torch.ones_like(c) for c in clusters]))
    torch.library.opcheck(torch.ops.uan_da.moves.default, (initialized,))
