"""UAN as a PyTorch module: copies, checkpoints, types, memory, compilation, errors."""

import copy
import inspect
import io
import pickle
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from uan_da.norms import UAN, UAN1d, UAN2d, UAN3d

OPTIONS: list[dict[str, Any]] = [
    {},
    {"num_clusters": 3, "shrink": 0.5},
    {"num_clusters": 3, "assignment": "element", "scale": "prior"},
    {"moments": "learned", "scale": "unit"},
    {"backend": "fused", "scale": "prior"},
]


def trained(**options: Any) -> UAN2d:
    layer = UAN2d(4, **options)
    for _ in range(3):
        layer(torch.randn(8, 4, 5, 5) * 2 + 3)
    return layer


def test_positional_arguments_are_in_the_order_of_batch_norm() -> None:
    ours, theirs = (list(inspect.signature(norm).parameters.values()) for norm in (UAN2d, nn.BatchNorm2d))
    positional = [parameter for parameter in ours if parameter.kind is parameter.POSITIONAL_OR_KEYWORD]
    assert [(parameter.name, parameter.default) for parameter in positional] == [
        (parameter.name, parameter.default) for parameter in theirs[: len(positional)]
    ]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_copies_and_pickles_compute_the_same(options: dict[str, Any]) -> None:
    layer, x = trained(**options), torch.randn(8, 4, 5, 5)
    twins = [copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))]
    y = layer(x)
    for twin in twins:
        assert torch.equal(twin(x), y)
        assert all(
            torch.equal(a, b) for a, b in zip(twin.state_dict().values(), layer.state_dict().values(), strict=True)
        )


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_checkpoint_goes_on_where_it_was(options: dict[str, Any]) -> None:
    """The loaded layer is not started again by its first batch."""
    layer, x = trained(**options), torch.randn(8, 4, 5, 5) - 9
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = UAN2d(4, **options)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    assert torch.equal(loaded(x), layer(x))
    assert torch.equal(loaded.mean, layer.mean)
    assert layer.state_dict()._metadata[""]["version"] == 2


def test_a_layer_on_the_meta_device_is_loaded_by_assignment() -> None:
    layer, x = trained(), torch.randn(8, 4, 5, 5)
    loaded = UAN2d(4, device="meta")
    loaded.load_state_dict(copy.deepcopy(layer.state_dict()), assign=True)
    assert torch.equal(loaded(x), layer(x))


def test_repr_says_what_shapes_the_maths() -> None:
    text = repr(UAN2d(4, num_clusters=3, scale="prior", shrink=0.25))
    for part in ("UAN2d(4, ", "num_clusters=3", "assignment='sample'", "scale='prior'", "shrink=0.25", "momentum=0.1"):
        assert part in text


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_memory_format_is_kept(options: dict[str, Any], training: bool) -> None:
    layer, x = trained(**options).train(training), torch.randn(8, 4, 5, 6)
    twin = copy.deepcopy(layer)
    y = layer(x.contiguous(memory_format=torch.channels_last))
    assert y.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(y, twin(x))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_half_precision_takes_its_moments_in_float32(options: dict[str, Any]) -> None:
    """The squares of these values overflow float16."""
    layer, x = trained(**options), (torch.randn(8, 4, 5, 5) * 300 + 2000).half()
    twin = copy.deepcopy(layer)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), twin(x.float()), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(layer.running_var, twin.running_var)
    torch.testing.assert_close(layer.responsibilities(x), twin.responsibilities(x.float()))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_layers_of_every_type(options: dict[str, Any], dtype: torch.dtype) -> None:
    layer = UAN2d(4, dtype=dtype, **options)
    assert {value.dtype for value in layer.parameters()} == {dtype}
    x = torch.randn(8, 4, 5, 5, dtype=dtype, requires_grad=True)
    for _ in range(2):
        layer(x).sum().backward()
    layer.eval()(x)
    assert x.grad.dtype == dtype
    assert all(value.isfinite().all() for value in layer.state_dict().values())


def test_an_input_of_another_type_than_the_layer() -> None:
    layer = trained()
    assert layer(torch.randn(8, 4, 5, 5, dtype=torch.float64)).dtype == torch.float64
    assert layer.double()(torch.randn(8, 4, 5, 5)).dtype == torch.float32


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_export_in_evaluation(options: dict[str, Any]) -> None:
    layer, x = trained(**options).eval(), torch.randn(8, 4, 5, 5)
    batch = torch.export.Dim("batch")
    program = torch.export.export(layer, (x,), dynamic_shapes=({0: batch},))
    torch.testing.assert_close(program.module()(x[:3]), layer(x[:3]))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_compile_without_a_graph_break(options: dict[str, Any], training: bool) -> None:
    layer, x = trained(**options).train(training), torch.randn(8, 4, 5, 5)
    twin = copy.deepcopy(layer)
    torch.compiler.reset()
    compiled = torch.compile(layer, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(x), twin(x))
    torch.testing.assert_close(layer.state_dict(), twin.state_dict())


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_compiled_training_is_the_eager_one(options: dict[str, Any]) -> None:
    """Outputs, gradients and state, with a step of EM and one of an optimizer each time; also of two forwards before a
    backward, and of a forward that a backward runs again."""
    eager = nn.Sequential(nn.Conv2d(4, 4, 1), UAN2d(4, **options)).double()
    twin = copy.deepcopy(eager)
    torch.compiler.reset()
    runs = [(eager, eager), (twin, torch.compile(twin, fullgraph=True, backend="aot_eager"))]
    for step in range(4):
        results = []
        for model, forward in runs:
            torch.manual_seed(step)
            x, again = torch.randn(2, 8, 4, 5, 5, dtype=torch.float64) * 2 + 3
            model.zero_grad()
            x.requires_grad_()
            again.requires_grad_()
            y = forward(x)
            y = y + (checkpoint(forward, again, use_reentrant=False) if step == 3 else forward(again))
            y.square().mean().backward()
            results.append([y, x.grad, again.grad, *[p.grad for p in model.parameters()], *model.state_dict().values()])
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter -= 0.1 * parameter.grad
        for one, other in zip(*results, strict=True):
            torch.testing.assert_close(one, other, atol=1e-10, rtol=1e-10)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 0}, "`num_clusters` to be an integer of at least 1, but got 0"),
        ({"assignment": "batch"}, r"`assignment` to be one of \('sample', 'element'\), but got 'batch'"),
        ({"moments": "running"}, "`moments` to be one of"),
        ({"scale": "prio"}, "`scale` to be one of"),
        ({"sharpness": 0.0}, "`sharpness` to be larger than 0"),
        ({"sharpness": float("inf")}, "`sharpness` to be larger than 0, and finite"),
        ({"em_rate": 1.5}, "`em_rate` to be between 0 and 1"),
        ({"eps": 0.0}, "`eps` to be larger than 0"),
        ({"shrink": 1.0}, "`shrink` to be between 0 and 1, both excluded"),
        ({"shrink": 0.5, "assignment": "element"}, "`shrink` to be None under element assignment"),
        ({"shrink_groups": 0}, "`shrink_groups` to be an integer of at least 1"),
    ],
)
def test_bad_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        UAN2d(4, **options)


@pytest.mark.parametrize(
    ("kind", "shape", "message"),
    [
        (UAN1d, (2, 4, 3, 3), r"UAN1d expected a 2-D or 3-D input, but got shape \(2, 4, 3, 3\)"),
        (UAN2d, (2, 4), "UAN2d expected a 4-D input"),
        (UAN3d, (2, 4, 3, 3), "UAN3d expected a 5-D input"),
        (UAN2d, (2, 5, 3, 3), r"UAN2d expected 4 channels, but got shape \(2, 5, 3, 3\)"),
    ],
)
def test_inputs_of_another_shape(kind: type[UAN], shape: tuple[int, ...], message: str) -> None:
    layer = kind(4)
    for call in (layer, layer.responsibilities):
        with pytest.raises(ValueError, match=message):
            call(torch.zeros(shape))


def test_without_running_statistics_evaluation_uses_the_batch() -> None:
    layer = UAN2d(4, track_running_stats=False)
    x = torch.randn(8, 4, 5, 5) * 3 + 1
    layer(x)
    assert layer.num_batches_tracked is None
    y: Tensor = layer.eval()(x)
    torch.testing.assert_close(y.var((0, 2, 3), correction=0), torch.ones(4), atol=0.05, rtol=0)
    layer.reset_running_stats()


def test_what_an_optimizer_must_not_decay() -> None:
    names = {name for name, _ in UAN2d(4, shrink=0.5).named_parameters()}
    assert names - set(UAN.no_weight_decay) == {"weight", "bias"}
