"""The GPU kernels: run by Triton's interpreter, and compiled for a GPU that need not be there."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

triton = pytest.importorskip("triton")

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
interpreted = pytest.mark.skipif(not INTERPRETED, reason="runs in a process of its own, see below")


OLD_INTERPRETER = tuple(map(int, triton.__version__.split(".")[:2])) < (3, 9)
NEW_NUMPY = tuple(map(int, np.__version__.split(".")[:2])) >= (2, 4)


@pytest.mark.skipif(INTERPRETED, reason="this is that process")
@pytest.mark.skipif(
    OLD_INTERPRETER and NEW_NUMPY,
    reason="Triton 3.6's interpreter makes integers of one-element arrays, which NumPy 2.4 refuses; 3.9 works",
)
def test_by_the_interpreter() -> None:
    """Triton decides at its import whether kernels are interpreted: hence a process of its own."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(Path(__file__))]
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "6 passed" in result.stdout


def _activations(channels_last: bool, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """x and g with more than one tile, and tails, of every axis."""
    torch.manual_seed(0)
    x, g = torch.randn(2, 2, 3, 11) * 2 + 1
    if channels_last:
        x, g = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (x, g))
    return x.to(dtype), g.to(dtype)


def _check(fast: object, plain: object, dtype: torch.dtype) -> None:
    half = dtype != torch.float32
    torch.testing.assert_close(fast, plain, rtol=1e-2 if half else 1e-4, atol=1e-2 if half else 1e-4)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_sample_kernels(dtype: torch.dtype) -> None:
    from uan_da.norms.fused.sample_passes import PLAIN
    from uan_da.norms.fused.triton_passes import SAMPLE

    for channels_last in (False, True):
        x, g = _activations(channels_last, dtype)
        shift, (slope, spread, offset) = torch.randn(3), torch.randn(3, 2, 3)
        _check(SAMPLE.moments(x, shift), PLAIN.moments(x, shift), dtype)
        _check(*(p.affine(x, shift, slope, offset) for p in (SAMPLE, PLAIN)), dtype)
        _check(SAMPLE.gradient_sums(g, x, shift), PLAIN.gradient_sums(g, x, shift), dtype)
        # g broadcast, as the gradient of a sum is
        g = g[:, :, :1].expand_as(g)
        _check(*(p.gradient(g, x, shift, slope, spread, offset) for p in (SAMPLE, PLAIN)), dtype)


@interpreted
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_element_kernels(dtype: torch.dtype) -> None:
    from uan_da.norms.fused.element_passes import PLAIN, Coefficients
    from uan_da.norms.fused.triton_passes import ELEMENT

    for channels_last in (False, True):
        x, g = _activations(channels_last, dtype)
        for k in (1, 3):
            clusters = Coefficients(torch.randn(k, 3), torch.rand(k, 3) + 0.5, torch.randn(k, 3))
            (slope, offset), d_sums = torch.randn(2, k, 3), torch.randn(3, k, 3)
            _check(ELEMENT.sums(x, clusters), PLAIN.sums(x, clusters), dtype)
            _check(*(p.mix(x, clusters, slope, offset) for p in (ELEMENT, PLAIN)), dtype)
            _check(ELEMENT.gradient_sums(g, x, clusters), PLAIN.gradient_sums(g, x, clusters), dtype)
            _check(*(p.gradient(g, x, clusters, slope, offset, d_sums) for p in (ELEMENT, PLAIN)), dtype)


@pytest.mark.skipif(INTERPRETED, reason="a kernel that only looks where it is")
def test_kernels_are_launched_on_the_device_of_their_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    from uan_da.norms.fused import triton_kernels
    from uan_da.norms.fused.triton_passes import SAMPLE

    current, launched = ["cuda:0"], list[tuple[str, torch.Tensor]]()

    @contextmanager
    def device_of(tensor: torch.Tensor) -> Iterator[None]:
        current.append(f"of {tensor.shape}")
        yield
        current.pop()

    class Kernel:
        def __getitem__(self, grid: object) -> Callable[..., None]:
            return lambda x, *_, **__: launched.append((current[-1], x))

    monkeypatch.setattr(torch.cuda, "device_of", device_of)
    monkeypatch.setitem(triton_kernels.KERNELS, "sample_moments", Kernel())
    x = torch.randn(2, 3, 5)
    SAMPLE.moments(x, torch.zeros(3))
    assert launched == [(f"of {x.shape}", x)]
    assert current == ["cuda:0"]


@pytest.mark.slow
@pytest.mark.skipif(INTERPRETED, reason="nothing is compiled there")
@pytest.mark.parametrize("clusters", [1, 3])
def test_kernels_compile_for_a_gpu(clusters: int) -> None:
    """With K − 1 exponentials a value, and nothing spilt to local memory."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from uan_da.norms.fused.triton_kernels import KERNELS

    constants = {"K": clusters, "BC": 1, "BS": 1024}
    types = dict.fromkeys(("x", "y", "g", "d_x"), "*bf16") | dict.fromkeys(constants, "constexpr")
    types |= dict.fromkeys(("N", "C", "S", *(f"{t}_{axis}" for t in "xygd" for axis in "ncs")), "i32")
    for name, kernel in KERNELS.items():
        function = kernel.fn
        signature = {argument: types.get(argument, "*fp32") for argument in function.arg_names}
        values = {(function.arg_names.index(name),): value for name, value in constants.items()}
        source = ASTSource(function, signature, values)
        code = triton.compile(source, target=GPUTarget("cuda", 90, 32), options={"num_warps": 4}).asm["ptx"]
        assert ".local" not in code
        assert code.count("ex2") == (8 * (clusters - 1) if name.startswith("element") else 0), name
