"""The kernels of a GPU against the reference: on a GPU, where there is one, else in Triton's interpreter."""

import copy
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from uan_da.norms import UAN, UAN1d, UAN2d
from uan_da.norms.uan.clusters import Clusters, _was_set, started, started_around
from uan_da.norms.uan.depth import assign_together
from uan_da.norms.uan.kernels import ops, serving
from uan_da.norms.uan.kernels.serving import dense_format

pytest.importorskip("triton", reason="Triton comes with PyTorch on Linux alone")

GPU = torch.cuda.is_available()
DEVICE = "cuda" if GPU else "cpu"
Make = Callable[..., UAN]
AssertEqual = Callable[..., None]
BOTH = pytest.mark.parametrize("assignment", ["sample", "element"])
ON_A_GPU = pytest.mark.skipif(not GPU, reason="needs a GPU")


@pytest.fixture(autouse=True)
def kernels(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Where there is no GPU, they serve on a CPU; tiles are small, so that a small batch has several, of several
    programs."""
    from uan_da.norms.uan.kernels import cuda

    try:
        cuda.prepare(torch.device(DEVICE))
    except Exception as error:
        if "only 0-dimensional arrays" in str(error):
            pytest.skip("this Triton's interpreter is older than this NumPy")
        raise
    for name, value in {"VALUES": 256, "WIDTH": 4, "FEWEST_TILES": 2}.items():
        monkeypatch.setattr(cuda, name, value)
    if not GPU:
        monkeypatch.setattr(ops, "kernels_on", lambda device: cuda)
        monkeypatch.setattr(serving, "_work", lambda *_: True)
        monkeypatch.setattr(ops, "_dense", lambda x, like: x.contiguous(memory_format=dense_format(like)))
    return cuda


@pytest.fixture
def made(trained: Make) -> Make:
    """``made(kind, channels, **options)``: a layer that has been trained by the reference."""

    def make(kind: type[UAN], channels: int, **options: Any) -> UAN:
        layer = kind(channels, backend="reference", **options)
        shape = (6, channels, 4) if kind is UAN1d else (6, channels, 4, 4)
        return trained(layer, *shape).to(DEVICE)

    return make


def batch(*shape: int, dtype: torch.dtype = torch.float64, last: bool = False, offset: float = 1.0) -> Any:
    x, g = torch.randn(2, *shape, dtype=dtype, device=DEVICE)
    x = x * 2 + offset
    return (x.contiguous(memory_format=torch.channels_last) if last else x), g


@pytest.mark.parametrize(("clusters", "last"), [(1, False), (2, True), (3, False), (3, True), (8, True)])
@BOTH
def test_float64(assignment: Any, last: bool, clusters: int, made: Make, assert_equal: AssertEqual) -> None:
    layer = made(UAN2d, 5, num_clusters=clusters, assignment=assignment, sharpness=3.0, dtype=torch.float64)
    assert_equal(layer, *batch(3, 5, 5, 3, last=last), 1e-10, "fused")


@pytest.mark.parametrize(
    "options",
    [
        {"scale": "prior", "momentum": None},
        {"scale": "unit", "em_rate": 0.0, "bias": False},
        {"affine": False, "em_rate": 1.0},
        {"track_running_stats": False},
    ],
    ids=str,
)
@BOTH
def test_options(assignment: Any, options: dict[str, Any], made: Make, assert_equal: AssertEqual) -> None:
    layer = made(UAN1d, 3, num_clusters=3, assignment=assignment, sharpness=3.0, dtype=torch.float64, **options)
    layer.log_var.requires_grad_(options["em_rate"] == 1.0 if "em_rate" in options else True)
    assert_equal(layer, *batch(5, 3, 6), 1e-10, "fused")


@pytest.mark.parametrize("shape", [(1, 1, 1, 1), (2, 7, 1, 1), (5, 2, 3, 11)])
@pytest.mark.parametrize("last", [False, True])
@BOTH
def test_float32(assignment: Any, last: bool, shape: tuple[int, ...], made: Make, assert_equal: AssertEqual) -> None:
    layer = made(UAN2d, shape[1], num_clusters=2, assignment=assignment, sharpness=3.0, eps=1e-3)
    assert_equal(layer, *batch(*shape, dtype=torch.float32, last=last), 1e-5, "fused")


@BOTH
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision(assignment: Any, dtype: torch.dtype, made: Make, assert_equal: AssertEqual) -> None:
    layer = made(UAN2d, 3, num_clusters=2, assignment=assignment, sharpness=3.0)
    x, g = batch(4, 3, 5, 3, dtype=torch.float32)
    assert_equal(layer, x.to(dtype), g.to(dtype), 2 * torch.finfo(dtype).eps, "fused")


@BOTH
def test_an_offset_takes_no_digits_away(assignment: Any) -> None:
    layer = UAN2d(2, num_clusters=2, assignment=assignment, em_rate=0.0, backend="fused").to(DEVICE)
    x, _ = batch(4, 2, 9, 16, dtype=torch.float32, offset=1e4)
    layer(x)
    exact = copy.deepcopy(layer).double()
    exact.options = replace(exact.options, backend="reference")
    torch.testing.assert_close(layer(x).double(), exact(x.double()), rtol=0, atol=1e-5)
    assert layer.running_var is not None
    torch.testing.assert_close(layer.running_var.double(), exact.running_var, rtol=1e-5, atol=0)


@BOTH
def test_a_starved_cluster_keeps_its_own_moments(assignment: Any, made: Make, assert_equal: AssertEqual) -> None:
    layer = made(UAN2d, 2, num_clusters=3, assignment=assignment, dtype=torch.float64)
    with torch.no_grad():
        layer.mean[1] += 50.0
    x, g = batch(3, 2, 3, 2)
    assert_equal(layer, x, g, 1e-10, "fused")
    layer.options = replace(layer.options, backend="fused")
    assert layer.running_mass is not None
    before = layer.running_mass.clone()
    layer(x)
    assert torch.equal(layer.running_mass[1], before[1])
    assert (layer.running_mass[[0, 2]] > before[[0, 2]]).any()


def test_evidence_passes_on_with_its_gradient(made: Make) -> None:
    """The second layer adds to that of the first; the third adds none."""
    options: dict[str, Any] = {"num_clusters": 2, "depth": 2, "sharpness": 3.0, "dtype": torch.float64}
    layers = [made(UAN2d, 2, **options) for _ in range(3)]
    assign_together(layers)
    x, g = batch(3, 2, 3, 2)
    outcomes = []
    for backend in ("fused", "reference"):
        for layer in layers:
            layer.options = replace(layer.options, backend=backend)  # type: ignore[arg-type]
        model, leaf = nn.Sequential(*copy.deepcopy(layers)), x.clone().requires_grad_()
        y = model(leaf)
        gradients = torch.autograd.grad(y, [leaf, *model.parameters()], g)
        outcomes.append([y, *gradients, *model.buffers()])
    torch.testing.assert_close(*outcomes, rtol=1e-10, atol=1e-10)


@BOTH
def test_what_is_not_finite_is_of_no_cluster(assignment: Any, made: Make) -> None:
    layer = made(UAN2d, 2, num_clusters=3, assignment=assignment)
    layer.options = replace(layer.options, backend="fused")
    before = copy.deepcopy(layer.state_dict())
    x, _ = batch(4, 2, 3, 3, dtype=torch.float32)
    x[1, 0, 2, 1] = float("inf")
    y = layer(x)
    assert y[1, 0].isnan().any()
    assert all(value.isfinite().all() for value in layer.state_dict().values())
    assert torch.equal(layer.running_mean[:, 0], before["running_mean"][:, 0])  # type: ignore[index]


@BOTH
def test_second_gradient(assignment: Any, made: Make) -> None:
    layer = made(UAN1d, 2, num_clusters=2, assignment=assignment, sharpness=2.0, dtype=torch.float64)
    x, _ = batch(3, 2, 3)
    found = []
    for backend in ("fused", "reference"):
        one, leaf = copy.deepcopy(layer), x.clone().requires_grad_()
        one.options = replace(one.options, backend=backend)  # type: ignore[arg-type]
        (first,) = torch.autograd.grad(one(leaf).pow(3).sum(), leaf, create_graph=True)
        found.append(torch.autograd.grad(first.square().sum(), [leaf, one.mean]))
    torch.testing.assert_close(*found, rtol=1e-10, atol=1e-10)


@BOTH
def test_compiled(assignment: Any, made: Make) -> None:
    """With the gradients and the state of a plain step; the operators' shapes are what they return."""
    layer = made(UAN2d, 3, num_clusters=2, assignment=assignment, sharpness=3.0)
    layer.options = replace(layer.options, backend="fused")
    x, g = batch(4, 3, 3, 2, dtype=torch.float32, last=True)
    outcomes = []
    for compiles in (False, True):
        torch.compiler.reset()
        one, leaf = copy.deepcopy(layer), x.clone().requires_grad_()
        run: Any = torch.compile(one, backend="aot_eager", fullgraph=True) if compiles else one
        y = run(leaf)
        outcomes.append([y, *torch.autograd.grad(y, [leaf, *one.parameters()], g), *one.buffers()])
    torch.testing.assert_close(*outcomes, rtol=0, atol=1e-6)


@pytest.mark.parametrize("shape", [(3, 5), (3, 5, 4, 7)])
def test_the_first_batch_starts_the_clusters(shape: tuple[int, ...], kernels: Any) -> None:
    x = torch.randn(shape, device=DEVICE) * 2 + 5
    clusters = Clusters(*(torch.zeros(size, device=DEVICE) for size in ((2, 5), (2, 5), (2,))))
    for batch, flag in ((x, 0), (x, 1), (x * float("inf"), 0)):
        initialized = torch.tensor(flag, device=DEVICE)
        moments = kernels.first_moments(batch, torch.float32, initialized)
        found = started_around(moments, clusters, initialized, 1e-5)
        torch.testing.assert_close(found, started(batch, clusters, initialized, 1e-5), rtol=1e-5, atol=1e-6)


def test_auto_on_a_gpu_is_the_reference() -> None:
    """As long as no GPU has run the kernels."""
    with torch._subclasses.FakeTensorMode():
        x = torch.empty(2, 3, 4, 4, device="cuda")
        layers = {b: UAN2d(3, backend=b, device="cuda") for b in ("auto", "reference", "fused")}
        served = {b: layer._is_fused(x, layer._state()) for b, layer in layers.items()}
    assert served == {"auto": False, "reference": False, "fused": True}


class Waits(TorchDispatchMode):
    """Notes the operations for which Python waits for a GPU."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        results = function(*args, **(kwargs or {}))
        devices = {t.device.type for t in tree_leaves((args, kwargs, results)) if isinstance(t, torch.Tensor)}
        if len(devices) > 1 or function is torch.ops.aten._local_scalar_dense.default:
            self.found.append(function)
        return results

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Any] = []


@BOTH
def test_no_step_waits_for_the_gpu(assignment: Any, kernels: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward of tensors without values, which no code can read."""
    monkeypatch.setattr(ops, "kernels_on", lambda device: kernels)
    monkeypatch.setattr(ops, "_is_watched", lambda x: False)
    monkeypatch.setattr(kernels.Passes, "_run", lambda *_: None)
    layer = UAN2d(3, assignment=assignment, backend="fused", device="meta")
    for owner, name in ((torch, "tensor"), (torch.Tensor, "new_tensor")):  # which copy a number to the device
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("a number is copied"))
    x = torch.empty(4, 3, 5, 5, device="meta", requires_grad=True)
    with Waits() as waits:
        layer._fused(x, layer._state(), True, True).sum().backward()
    assert x.grad is not None
    assert not waits.found


def test_a_gpu_is_asked_once_whether_the_clusters_have_started() -> None:
    initialized = torch.tensor(0)
    assert not _was_set(initialized)
    initialized.fill_(1)
    assert _was_set(initialized)
    with torch.no_grad(), Waits() as waits:
        assert _was_set(initialized)
    assert not waits.found
    initialized.zero_()
    assert not _was_set(initialized)


COMPILE = """
import sys
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from uan_da.norms.uan.kernels import passes_cuda

NUMBERS = {"bf16": "fp32", "fp16": "fp32", "fp32": "fp32", "fp64": "fp64"}
capabilities, types, clusters = (argument.split(",") for argument in sys.argv[1:])
names = [name for name in dir(passes_cuda) if name.startswith(("sample_", "element_", "first_"))]
kernels = [getattr(passes_cuda, name) for name in names]
assert len(kernels) == 9
for capability in map(int, capabilities):
    for number in types:
        for kernel in kernels:
            arguments = kernel.arg_names
            for k in map(int, clusters if "rows" in arguments else clusters[:1]):
                signature, constants = {}, {}
                for name in arguments:
                    of_x = name in ("x_at", "g_at", "y_at", "d_x_at")
                    signature[name] = "*" + (number if of_x else NUMBERS[number])
                    if name == "shape":  # of channels first: positions are next to each other
                        sizes = ["i32"] * (7 if "rows" in arguments else 6)
                        signature[name] = (*sizes[:3], "constexpr", *sizes[4:])
                        constants[(arguments.index(name), 3)] = 1
                    if name == "initialized_at":
                        signature[name] = "*i64"
                    if name in (tile := {"width": 32, "length": max(1, 64 // k), "padded": k}):
                        signature[name], constants[name] = "constexpr", tile[name]
                source = ASTSource(kernel, signature, constants)
                assert triton.compile(source, target=GPUTarget("cuda", capability, 32)).asm["cubin"]
                print(kernel.__name__, number, k, capability)
"""


def compiled_for(folder: Path, *arguments: str) -> list[str]:
    environment = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(folder)}
    command = [sys.executable, "-c", COMPILE, *arguments]
    found = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return found.stdout.splitlines()


def test_the_kernels_compile_without_a_gpu(tmp_path: Path) -> None:
    """The interpreter runs what the compiler refuses."""
    assert len(compiled_for(tmp_path, "90", "bf16", "2")) == 9


@pytest.mark.slow
def test_the_kernels_compile_for_other_gpus_and_types(tmp_path: Path) -> None:
    assert len(compiled_for(tmp_path, "80,90", "bf16,fp16,fp32,fp64", "1,2,8")) == 2 * 4 * (5 + 4 * 3)


@ON_A_GPU
@BOTH
def test_a_gpu_does_not_wait(assignment: Any, made: Make) -> None:
    """Once the clusters have started."""
    layer = made(UAN2d, 4, num_clusters=2, assignment=assignment)
    layer.options, (x, g) = replace(layer.options, backend="fused"), batch(8, 4, 8, 8, dtype=torch.float32)
    try:
        for mode in ("default", "error"):
            torch.cuda.set_sync_debug_mode(mode)
            layer(x.requires_grad_()).backward(g)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@ON_A_GPU
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("last", [False, True])
@pytest.mark.parametrize(("assignment", "clusters"), [("sample", 8), ("element", 3)])
def test_a_large_batch(
    assignment: Any,
    clusters: int,
    last: bool,
    dtype: torch.dtype,
    made: Make,
    assert_equal: AssertEqual,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the tiles of a training."""
    monkeypatch.undo()
    layer = made(UAN2d, 48, num_clusters=clusters, assignment=assignment)
    x, g = batch(64, 48, 56, 56, dtype=torch.float32, last=last)
    assert_equal(layer, x.to(dtype), g.to(dtype), max(1e-5, 2 * torch.finfo(dtype).eps), "fused")
