"""The four passes over activations under sample assignment.

``PLAIN`` has them as formulas, which autograd can differentiate and a compiler can fuse. ``BLOCKED`` needs no
compiler: it goes through the batch in blocks of samples that fit a core's cache, so that memory is read and
written once, whatever the number of operations within a block.

Shapes: activations ``x_ncs``, ``g_ncs`` ``(N, C, S)``; ``shift_c`` ``(C,)``; all else ``(N, C)``.
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from uan_da.norms.fused.blocks import block_slices

BLOCK = 1 << 17
"""Values in a block, for each thread: 512 KiB of float32, so that a block of x, one of g and a buffer are found in
a second-level cache."""


class SamplePasses(NamedTuple):
    """One way to compute them.

    ``moments(x, shift)``: mean of x − shift, and biased variance, over positions.
    ``affine(x, shift, slope, offset)``: slope (x − shift) + offset, in the type of x.
    ``gradient_sums(g, x, shift)``: Σ g (x − shift) and Σ g over positions.
    ``gradient(g, x, shift, slope, spread, offset)``: slope g + spread (x − shift) + offset, in the type of x.
    """

    moments: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
    affine: Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
    gradient_sums: Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
    gradient: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor], Tensor]


def _moments(x_ncs: Tensor, shift_c: Tensor) -> tuple[Tensor, Tensor]:
    shifted = x_ncs - shift_c[:, None]
    mean_nc = shifted.mean(2)
    return mean_nc, (shifted - mean_nc[:, :, None]).square().mean(2)


def _affine(x_ncs: Tensor, shift_c: Tensor, slope_nc: Tensor, offset_nc: Tensor) -> Tensor:
    y_ncs = (x_ncs - shift_c[:, None]) * slope_nc[:, :, None] + offset_nc[:, :, None]
    return y_ncs.to(x_ncs.dtype)


def _gradient_sums(g_ncs: Tensor, x_ncs: Tensor, shift_c: Tensor) -> tuple[Tensor, Tensor]:
    return (g_ncs * (x_ncs - shift_c[:, None])).sum(2), g_ncs.sum(2, dtype=shift_c.dtype)


def _gradient(
    g_ncs: Tensor, x_ncs: Tensor, shift_c: Tensor, slope_nc: Tensor, spread_nc: Tensor, offset_nc: Tensor
) -> Tensor:
    through_x = spread_nc[:, :, None] * (x_ncs - shift_c[:, None]) + offset_nc[:, :, None]
    return (slope_nc[:, :, None] * g_ncs + through_x).to(x_ncs.dtype)


PLAIN = SamplePasses(_moments, _affine, _gradient_sums, _gradient)


def _blocked_moments(x_ncs: Tensor, shift_c: Tensor) -> tuple[Tensor, Tensor]:
    mean_nc, var_nc = (shift_c.new_empty(x_ncs.shape[:2]) for _ in range(2))
    for block, buffer in _blocks(x_ncs, shift_c):
        mean = mean_nc[block]
        torch.mean(torch.sub(x_ncs[block], shift_c[:, None], out=buffer), 2, out=mean)
        buffer.sub_(mean[:, :, None])
        torch.mean(buffer.square_(), 2, out=var_nc[block])
    return mean_nc, var_nc


def _blocked_affine(x_ncs: Tensor, shift_c: Tensor, slope_nc: Tensor, offset_nc: Tensor) -> Tensor:
    y_ncs = torch.empty_like(x_ncs)
    slope, offset = slope_nc[:, :, None], offset_nc[:, :, None]
    for block, buffer in _blocks(x_ncs, shift_c):
        out = y_ncs[block] if y_ncs.dtype == buffer.dtype else buffer
        torch.sub(x_ncs[block], shift_c[:, None], out=out)
        out.mul_(slope[block]).add_(offset[block])
        if out is buffer:
            y_ncs[block] = buffer
    return y_ncs


def _blocked_gradient_sums(g_ncs: Tensor, x_ncs: Tensor, shift_c: Tensor) -> tuple[Tensor, Tensor]:
    product_nc, sum_nc = (shift_c.new_empty(x_ncs.shape[:2]) for _ in range(2))
    for block, buffer in _blocks(x_ncs, shift_c):
        torch.sub(x_ncs[block], shift_c[:, None], out=buffer)
        torch.sum(buffer.mul_(g_ncs[block]), 2, out=product_nc[block])
        torch.sum(g_ncs[block], 2, dtype=shift_c.dtype, out=sum_nc[block])
    return product_nc, sum_nc


def _blocked_gradient(
    g_ncs: Tensor, x_ncs: Tensor, shift_c: Tensor, slope_nc: Tensor, spread_nc: Tensor, offset_nc: Tensor
) -> Tensor:
    d_x_ncs = torch.empty_like(x_ncs)
    slope, spread, offset = (small[:, :, None] for small in (slope_nc, spread_nc, offset_nc))
    for block, buffer in _blocks(x_ncs, shift_c):
        torch.sub(x_ncs[block], shift_c[:, None], out=buffer).mul_(spread[block]).add_(offset[block])
        if d_x_ncs.dtype == buffer.dtype:
            torch.mul(g_ncs[block], slope[block], out=d_x_ncs[block]).add_(buffer)
        else:
            d_x_ncs[block] = buffer.add_(g_ncs[block] * slope[block])
    return d_x_ncs


BLOCKED = SamplePasses(_blocked_moments, _blocked_affine, _blocked_gradient_sums, _blocked_gradient)


def _blocks(x_ncs: Tensor, like: Tensor) -> Iterator[tuple[slice, Tensor]]:
    """Slices of the batch, each with a buffer in the layout of x and the type of ``like``."""
    blocks = block_slices(x_ncs, BLOCK)
    whole = torch.empty_like(x_ncs[blocks[0]], dtype=like.dtype)
    for block in blocks:
        yield block, whole[: block.stop - block.start]
