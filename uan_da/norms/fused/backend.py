"""Which implementation serves an input."""

import functools
import importlib.util
from typing import Literal

import torch
from torch import Tensor

from uan_da.norms.fused import element_blocks
from uan_da.norms.fused import element_passes as element
from uan_da.norms.fused import sample_passes as sample
from uan_da.norms.fused.compiled import Compiler
from uan_da.norms.fused.element_passes import ElementPasses
from uan_da.norms.fused.sample_passes import SamplePasses

_compiler = Compiler()

Backend = Literal["auto", "reference", "fused"]

COMPILE_AFTER = {"sample": 2000, "element": 1000}
"""Training batches after which ``"auto"`` compiles a layer's passes on a CPU. A compilation takes 20 to 50 s, or a few
from its cache, once a process: a short training does not earn it back, and an element's passes gain most. The count is
part of the layer's state, so that a training that is resumed computes what it would have."""


def is_fused(backend: Backend, x_ncs: Tensor) -> bool:
    """Whether the fused passes serve ``x`` ``(N, C, …)``; ``"auto"`` leaves to the reference what a tracer or
    a transform has to see as plain operations."""
    if backend == "reference" or x_ncs.dim() < 3 or x_ncs.numel() == 0:
        return False
    if backend == "fused":
        return True
    return not (
        torch.compiler.is_compiling()
        or torch._C._get_tracing_state() is not None
        or torch.onnx.is_in_onnx_export()
        or torch._C._are_functorch_transforms_active()
        or x_ncs.layout != torch.strided
    )


def is_compiled(backend: Backend, assignment: Literal["sample", "element"], batches: Tensor | None) -> bool:
    """Whether the passes are compiled on a CPU: ``"fused"`` asks for it, and ``"auto"`` does where training has seen
    enough ``batches``; None is never."""
    if backend == "fused" or batches is None or batches.device.type != "cpu":
        return backend == "fused"
    return int(batches) >= COMPILE_AFTER[assignment]


def sample_passes(x_ncs: Tensor, compiled: bool) -> SamplePasses:
    """The passes that serve ``x`` under sample assignment: Triton's on a GPU, else compiled ones, or blocks."""
    if _on_gpu(x_ncs):
        from uan_da.norms.fused import triton_passes

        return triton_passes.SAMPLE
    return _compiled_sample() if compiled else sample.BLOCKED


def element_passes(x_ncs: Tensor, compiled: bool) -> ElementPasses:
    """The passes that serve ``x`` under element assignment, chosen likewise."""
    if _on_gpu(x_ncs):
        from uan_da.norms.fused import triton_passes

        return triton_passes.ELEMENT
    return _compiled_element() if compiled else element_blocks.BLOCKED


def _on_gpu(x_ncs: Tensor) -> bool:
    return x_ncs.device.type == "cuda" and _has_triton()


@functools.cache
def _has_triton() -> bool:
    """It comes with PyTorch on Linux."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def _compiled_sample() -> SamplePasses:
    plain, blocked = sample.PLAIN, sample.BLOCKED
    return SamplePasses(
        _compiler(plain.moments, blocked.moments),
        _compiler(plain.affine, blocked.affine),
        _compiler(plain.gradient_sums, blocked.gradient_sums),
        _compiler(plain.gradient, blocked.gradient),
    )


@functools.cache
def _compiled_element() -> ElementPasses:
    plain, blocked = element.PLAIN, element_blocks.BLOCKED
    return ElementPasses(
        _compiler(plain.sums, blocked.sums),
        _compiler(plain.mix, blocked.mix),
        _compiler(plain.gradient_sums, blocked.gradient_sums),
        _compiler(plain.gradient, blocked.gradient),
    )
