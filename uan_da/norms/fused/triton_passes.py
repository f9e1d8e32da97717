"""The passes on a GPU: launches of :mod:`uan_da.norms.fused.triton_kernels`, which is imported at the first."""

from typing import Any

import torch
from torch import Tensor

from uan_da.norms.fused.element_passes import Coefficients, ElementPasses
from uan_da.norms.fused.sample_passes import SamplePasses


def _launch(kernel: str, large: tuple[Tensor, ...], small: tuple[Tensor, ...], clusters: int, *sizes: int) -> None:
    """Run ``kernel`` on ``large`` tensors ``(N, C, S)`` of any strides and contiguous ``small`` ones; ``sizes`` come
    before C and S."""
    from uan_da.norms.fused.triton_kernels import KERNELS

    samples, channels, positions = large[0].shape
    strides = [stride for tensor in large for stride in tensor.stride()]

    def grid(tile: dict[str, Any]) -> tuple[int]:
        return (samples * -(-channels // tile["BC"]),)

    contiguous = [tensor.contiguous() for tensor in small]  # results are, and stay the same tensors
    # Triton launches on the current device. Nothing happens to tensors that are not on CUDA.
    with torch.cuda.device_of(large[0]):  # type: ignore[no-untyped-call]
        KERNELS[kernel][grid](*large, *contiguous, *sizes, channels, positions, *strides, K=clusters)


def _moments(x_ncs: Tensor, shift_c: Tensor) -> tuple[Tensor, Tensor]:
    mean_nc, var_nc = (shift_c.new_empty(x_ncs.shape[:2]) for _ in range(2))
    _launch("sample_moments", (x_ncs,), (shift_c, mean_nc, var_nc), 1)
    return mean_nc, var_nc


def _affine(x_ncs: Tensor, shift_c: Tensor, slope_nc: Tensor, offset_nc: Tensor) -> Tensor:
    y_ncs = torch.empty_like(x_ncs)
    _launch("sample_affine", (x_ncs, y_ncs), (shift_c, slope_nc, offset_nc), 1)
    return y_ncs


def _gradient_sums(g_ncs: Tensor, x_ncs: Tensor, shift_c: Tensor) -> tuple[Tensor, Tensor]:
    product_nc, sum_nc = (shift_c.new_empty(x_ncs.shape[:2]) for _ in range(2))
    _launch("sample_gradient_sums", (g_ncs, x_ncs), (shift_c, product_nc, sum_nc), 1)
    return product_nc, sum_nc


def _gradient(
    g_ncs: Tensor, x_ncs: Tensor, shift_c: Tensor, slope_nc: Tensor, spread_nc: Tensor, offset_nc: Tensor
) -> Tensor:
    d_x_ncs = torch.empty_like(x_ncs)
    _launch("sample_gradient", (g_ncs, x_ncs, d_x_ncs), (shift_c, slope_nc, spread_nc, offset_nc), 1)
    return d_x_ncs


SAMPLE = SamplePasses(_moments, _affine, _gradient_sums, _gradient)


def _partial_sums(x_ncs: Tensor, coefficients: Coefficients, rows: int) -> Tensor:
    """Memory for sums of each sample's channels, ``(rows, K, N, C)``."""
    return coefficients.mean.new_empty(rows, len(coefficients.mean), *x_ncs.shape[:2])


def _sums(x_ncs: Tensor, coefficients: Coefficients) -> Tensor:
    out = _partial_sums(x_ncs, coefficients, 3)
    _launch("element_sums", (x_ncs,), (*coefficients, out), len(coefficients.mean), len(x_ncs))
    return out.sum(2)


def _mix(x_ncs: Tensor, coefficients: Coefficients, slope_kc: Tensor, offset_kc: Tensor) -> Tensor:
    y_ncs = torch.empty_like(x_ncs)
    _launch("element_mix", (x_ncs, y_ncs), (*coefficients, slope_kc, offset_kc), len(coefficients.mean))
    return y_ncs


def _element_gradient_sums(g_ncs: Tensor, x_ncs: Tensor, coefficients: Coefficients) -> Tensor:
    out = _partial_sums(x_ncs, coefficients, 2)
    _launch("element_gradient_sums", (g_ncs, x_ncs), (*coefficients, out), len(coefficients.mean), len(x_ncs))
    return out.sum(2)


def _element_gradient(
    g_ncs: Tensor, x_ncs: Tensor, coefficients: Coefficients, slope_kc: Tensor, offset_kc: Tensor, d_sums: Tensor
) -> tuple[Tensor, Tensor]:
    d_x_ncs, out = torch.empty_like(x_ncs), _partial_sums(x_ncs, coefficients, 3)
    small = (*coefficients, slope_kc, offset_kc, d_sums, out)
    _launch("element_gradient", (g_ncs, x_ncs, d_x_ncs), small, len(coefficients.mean), len(x_ncs))
    return d_x_ncs, out.sum(2)


ELEMENT = ElementPasses(_sums, _mix, _element_gradient_sums, _element_gradient)
