"""PyTorch's own module tests, on its own BatchNorm entries, with a UAN of one cluster in BatchNorm's place.

The inputs are those of ``torch.testing._internal.common_modules``; the checks are written here, one for each test of
PyTorch's ``test/test_modules.py``, because that file is not part of an installed torch. What does not apply:

- ``test_check_inplace``: BatchNorm's entries have no in-place form, nor has UAN;
- ``test_multiple_device_transfer``, ``test_cpu_gpu_parity`` and the ``mps``, ``hpu`` entries: need that device;
- ``TestEagerFusionModuleInfo``: PyTorch expects failure of its BatchNorm in training, for its ``momentum=None``
  reads the count of batches back; compilation is tested in ``test_uan_module.py``;
- quantization (``torch.ao``), ``torch.jit.script``: BatchNorm's own entries are not tested for either here.
"""

import copy
import io
import pickle
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uan_da.norms import UAN, UAN1d, UAN2d, UAN3d

common_modules = pytest.importorskip("torch.testing._internal.common_modules", reason="needs expecttest")


class OneCluster1d(UAN1d):
    """UAN1d as BatchNorm1d."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, num_clusters=1, **kwargs)


class OneCluster2d(UAN2d):
    """UAN2d as BatchNorm2d."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, num_clusters=1, **kwargs)


class OneCluster3d(UAN3d):
    """UAN3d as BatchNorm3d."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, num_clusters=1, **kwargs)


PLACES = {
    nn.BatchNorm1d: OneCluster1d,
    nn.BatchNorm2d: OneCluster2d,
    nn.BatchNorm3d: OneCluster3d,
}
ENTRIES = [info for info in common_modules.module_db if info.module_cls in PLACES]
ASSIGNMENTS = ["sample", "element"]


def test_the_entries_are_there() -> None:
    assert {info.module_cls for info in ENTRIES} == set(PLACES)


def cases(info: Any, dtype: torch.dtype, training: bool, requires_grad: bool = False) -> Iterator[tuple[Any, Any]]:
    """(constructor input, forward input) of an entry."""
    torch.manual_seed(0)
    for module_input in info.module_inputs_func(
        info, device="cpu", dtype=dtype, requires_grad=requires_grad, training=training
    ):
        yield module_input.constructor_input, module_input.forward_input


def pair(
    info: Any, constructor: Any, assignment: str, dtype: torch.dtype, training: bool, backend: str = "auto"
) -> tuple[nn.Module, UAN]:
    """BatchNorm and the UAN in its place, equal parameters.

    The kernels of one cluster of elements are tried in float32 alone: those of each type take seconds to compile."""
    if assignment == "element" and dtype == torch.float64:
        backend = "reference"
    bn = info.module_cls(*constructor.args, **constructor.kwargs).to(dtype)
    options = {"assignment": assignment, "backend": backend}
    layer = PLACES[info.module_cls](*constructor.args, **options, **constructor.kwargs).to(dtype)
    with torch.no_grad():
        for name, parameter in bn.named_parameters():
            parameter.normal_()
            layer.get_parameter(name).copy_(parameter)
    return bn.train(training), layer.train(training)


def each(*dtypes: torch.dtype) -> Any:
    """Every entry, assignment and mode, with ``dtypes`` or the entry's own."""
    values = [
        pytest.param(info, assignment, training, dtype, id=f"{info.name}-{assignment}-{training}-{dtype}")
        for info in ENTRIES
        for assignment in ASSIGNMENTS
        for training in (True, False)
        for dtype in dtypes or info.dtypes
    ]
    return pytest.mark.parametrize(("info", "assignment", "training", "dtype"), values)


@each(torch.float16, torch.bfloat16, torch.float32, torch.float64)
def test_forward(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    tolerance = {torch.float16: 3e-2, torch.bfloat16: 0.2, torch.float32: 1e-4, torch.float64: 1e-10}[dtype]
    for constructor, forward in cases(info, dtype, training):
        bn, layer = pair(info, constructor, assignment, dtype, training)
        wide = torch.promote_types(dtype, torch.float32)  # UAN takes the moments of half precision in float32
        for _ in range(3):
            expected, y = bn.to(wide)(forward.args[0].to(wide)), layer(*forward.args)
            assert y.dtype == dtype
            torch.testing.assert_close(y.to(wide), expected, atol=tolerance, rtol=tolerance)


@each()
def test_factory_kwargs(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    for constructor, _ in cases(info, dtype, training):
        layer = PLACES[info.module_cls](
            *constructor.args, assignment=assignment, device="cpu", dtype=dtype, **constructor.kwargs
        )
        state = [value for value in layer.state_dict().values() if value.is_floating_point()]
        assert {value.dtype for value in state} == {dtype}
        assert {value.device.type for value in state} == {"cpu"}


@each(torch.float32)
def test_repr(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    for constructor, _ in cases(info, dtype, training):
        assert "num_clusters=1" in repr(pair(info, constructor, assignment, dtype, training)[1])


@each()
def test_save_load_and_pickle(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    for constructor, forward in cases(info, dtype, training):
        _, layer = pair(info, constructor, assignment, dtype, training)
        file = io.BytesIO()
        torch.save(layer, file)
        file.seek(0)
        loaded = [torch.load(file, weights_only=False), pickle.loads(pickle.dumps(layer))]
        y = layer(*forward.args)
        assert all(torch.equal(twin(*forward.args), y) for twin in loaded)


@each(torch.float64)
def test_non_contiguous_tensors(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    for constructor, forward in cases(info, dtype, training, requires_grad=True):
        _, layer = pair(info, constructor, assignment, dtype, training)
        x = forward.args[0].detach().clone().requires_grad_()
        sparse = torch.stack([x.detach(), x.detach()], -1)[..., 0].requires_grad_()
        assert x.numel() == 0 or not sparse.is_contiguous()
        twin, weight = copy.deepcopy(layer), torch.randn_like(x)
        (layer(x) * weight).sum().backward()
        (twin(sparse) * torch.stack([weight, weight], -1)[..., 0]).sum().backward()
        torch.testing.assert_close(sparse.grad, x.grad)
        for a, b in zip(layer.parameters(), twin.parameters(), strict=True):
            torch.testing.assert_close(a.grad, b.grad)


@each(torch.float64)
@pytest.mark.parametrize("check", [torch.autograd.gradcheck, torch.autograd.gradgradcheck])
@pytest.mark.parametrize("fast", [True, pytest.param(False, marks=pytest.mark.slow)], ids=["fast", "full"])
def test_grad_and_gradgrad(
    info: Any, assignment: str, training: bool, dtype: torch.dtype, check: Any, fast: bool
) -> None:
    """PyTorch's suite, too, runs the fast mode where it is not asked for the full one."""
    for constructor, forward in cases(info, dtype, training, requires_grad=True):
        _, layer = pair(info, constructor, assignment, dtype, training)
        names = [name for name in ("weight", "bias") if getattr(layer, name) is not None]
        with torch.no_grad():
            layer(*forward.args)  # past the first batch

        def function(x: Tensor, *values: Tensor, layer: UAN = layer, names: list[str] = names) -> Tensor:
            return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

        values = [getattr(layer, name) for name in names]
        assert check(function, (forward.args[0], *values), fast_mode=fast)


@each(torch.float32)
def test_memory_format(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    formats = {4: torch.channels_last, 5: torch.channels_last_3d}
    for constructor, forward in cases(info, dtype, training):
        x = forward.args[0]
        if x.dim() not in formats or x.numel() == 0:
            continue
        backend = "auto" if assignment == "sample" else "reference"  # as in float64
        _, layer = pair(info, constructor, assignment, dtype, training, backend)
        twin = copy.deepcopy(layer)
        y = layer(x.contiguous(memory_format=formats[x.dim()]))
        assert y.is_contiguous(memory_format=formats[x.dim()])
        torch.testing.assert_close(y, twin(x))


@each(torch.float32)
def test_if_train_and_eval_modes_differ(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    for constructor, forward in cases(info, dtype, training):
        bn, layer = pair(info, constructor, assignment, dtype, training)
        differ = [
            not torch.allclose(norm.train()(*forward.args), norm.eval()(*forward.args), atol=1e-5)
            for norm in (bn, layer)
        ]
        assert differ[0] == differ[1]


@each(torch.float32)
def test_to_and_to_empty(info: Any, assignment: str, training: bool, dtype: torch.dtype) -> None:
    for constructor, forward in cases(info, dtype, training):
        _, layer = pair(info, constructor, assignment, dtype, training)
        y = copy.deepcopy(layer)(*forward.args)
        state = copy.deepcopy(layer.state_dict())
        layer.double().to("meta").to_empty(device="cpu").float().load_state_dict(state)
        torch.testing.assert_close(layer(*forward.args), y)


@pytest.mark.parametrize("info", ENTRIES, ids=lambda info: info.name)
def test_errors(info: Any) -> None:
    """A bad eps: BatchNorm says so in its forward, UAN when it is made."""
    if info.module_error_inputs_func is None:
        pytest.skip("this version of PyTorch has no entries of errors")
    for error in info.module_error_inputs_func(
        info, device="cpu", dtype=torch.float32, requires_grad=False, training=True
    ):
        constructor = error.module_error_input.constructor_input
        with pytest.raises(error.error_type, match="`eps` to be larger than 0"):
            PLACES[info.module_cls](*constructor.args, **constructor.kwargs)
