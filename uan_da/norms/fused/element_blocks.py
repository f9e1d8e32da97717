r"""The passes of :mod:`uan_da.norms.fused.element_passes` without a compiler, as fast as single operations allow.

They go through the activations in blocks that fit a core's cache, all clusters at once, in a few buffers that are
used again, and in the order in which memory has the values. With :math:`h = r/\sqrt{2}` and
:math:`z' = (x - μ) h`, a logit is :math:`b - z'^2`, two operations less.

Shapes: a block of activations is ``(M, C, S)``, or ``(M, 1, C)`` where the channel is memory's last axis; of each
cluster and channel ``(K, 1, C, 1)`` or ``(K, 1, 1, C)``; a buffer has the clusters before the block's axes.
"""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from uan_da.norms.fused.element_passes import Coefficients, ElementPasses

BLOCK = 1 << 16
"""Values in a buffer, for each thread: 256 KiB of float32; the pass that needs most has five buffers."""
SQRT_2 = math.sqrt(2.0)


class _Blocks:
    """The blocks of activations, and what every pass does first with one."""

    def __init__(self, x_ncs: Tensor, coefficients: Coefficients) -> None:
        self.clusters, self.channels = coefficients.mean.shape
        self.last = x_ncs.transpose(1, 2).is_contiguous()
        self.x = self.view(x_ncs)
        values = self.x[0].numel() * self.clusters
        self.rows = max(1, BLOCK * torch.get_num_threads() // values) if x_ncs.device.type == "cpu" else len(self.x)
        self.mean, rstd, self.bias = (self.small(value) for value in coefficients)
        self.half = rstd / SQRT_2

    def view(self, x_ncs: Tensor) -> Tensor:
        """Activations in the order of x's memory."""
        return x_ncs.transpose(1, 2).reshape(-1, 1, self.channels) if self.last else x_ncs

    def small(self, value_kc: Tensor) -> Tensor:
        """``(K, C)``, or ``(rows, K, C)``, to broadcast over a buffer."""
        shape = (1, 1, self.channels) if self.last else (1, self.channels, 1)
        return value_kc.reshape(*value_kc.shape[:-1], *shape)

    def over_values(self, buffer: Tensor) -> Tensor:
        """Sums ``(K, C)`` over the values of a channel."""
        return buffer.sum((1, 2)) if self.last else buffer.sum(3).sum(1)

    def __call__(self, count: int) -> Iterator[tuple[slice, list[Tensor]]]:
        """Slices, each with z', τ and ``count`` buffers more."""
        shape = (self.clusters, min(self.rows, len(self.x)), *self.x.shape[1:])
        buffers = [self.mean.new_empty(shape) for _ in range(2 + count)]
        for start in range(0, len(self.x), self.rows):
            block = slice(start, min(start + self.rows, len(self.x)))
            z, tau, *rest = (buffer[:, : block.stop - start] for buffer in buffers)
            torch.sub(self.x[block], self.mean, out=z).mul_(self.half)
            torch.sub(self.bias, torch.mul(z, z, out=tau), out=tau)
            _softmax_(tau)
            yield block, [z, tau, *rest]


def _softmax_(logits: Tensor) -> None:
    """Softmax over the first axis, in place. Two sigmoids cost half of a softmax over two."""
    if len(logits) != 2:
        torch.softmax(logits, 0, out=logits)
        return
    first, second = logits
    torch.sub(first, second, out=first)
    torch.neg(first, out=second)
    logits.sigmoid_()


def _over_clusters_(buffer: Tensor) -> Tensor:
    """The sum over clusters, in the place of the first."""
    total = buffer[0]
    for other in buffer[1:]:
        total.add_(other)
    return total


def _sums(x_ncs: Tensor, coefficients: Coefficients) -> Tensor:
    blocks = _Blocks(x_ncs, coefficients)
    total = coefficients.mean.new_zeros(3, *coefficients.mean.shape)
    for _, (z, tau) in blocks(0):
        for power in range(3):
            total[power] += blocks.over_values(tau)
            if power < 2:
                tau.mul_(z)
    total[1] *= SQRT_2
    total[2] *= 2
    return total


def _mix(x_ncs: Tensor, coefficients: Coefficients, slope_kc: Tensor, offset_kc: Tensor) -> Tensor:
    blocks, y_ncs = _Blocks(x_ncs, coefficients), torch.empty_like(x_ncs)
    y, slope, offset = blocks.view(y_ncs), blocks.small(slope_kc * SQRT_2), blocks.small(offset_kc)
    for block, (z, tau) in blocks(0):
        y[block] = _over_clusters_(z.mul_(slope).add_(offset).mul_(tau))
    return y_ncs


def _gradient_sums(g_ncs: Tensor, x_ncs: Tensor, coefficients: Coefficients) -> Tensor:
    blocks = _Blocks(x_ncs, coefficients)
    g = blocks.view(g_ncs)
    total = coefficients.mean.new_zeros(2, *coefficients.mean.shape)
    for block, (z, tau) in blocks(0):
        total[1] += blocks.over_values(tau.mul_(g[block]))
        total[0] += blocks.over_values(tau.mul_(z))
    total[0] *= SQRT_2
    return total


def _gradient(
    g_ncs: Tensor,
    x_ncs: Tensor,
    coefficients: Coefficients,
    slope_kc: Tensor,
    offset_kc: Tensor,
    d_sums: Tensor,
) -> tuple[Tensor, Tensor]:
    """The formulas of ``PLAIN.gradient``, for z'."""
    blocks, d_x_ncs = _Blocks(x_ncs, coefficients), torch.empty_like(x_ncs)
    d_x, gradients = blocks.view(d_x_ncs), blocks.view(g_ncs)
    slope, offset = blocks.small(slope_kc * SQRT_2), blocks.small(offset_kc)
    a, b, c = blocks.small(d_sums * d_sums.new_tensor([1.0, SQRT_2, 2.0])[:, None, None])
    total = d_sums.new_zeros(d_sums.shape)
    for block, (z, tau, d_bias, d_z, product) in blocks(3):
        g = gradients[block]
        torch.mul(g, torch.mul(z, slope, out=d_bias).add_(offset), out=d_bias)
        torch.mul(z, c, out=d_z).add_(b)
        d_bias.addcmul_(d_z, z).add_(a)  # the gradient of τ
        d_bias.sub_(_over_clusters_(torch.mul(tau, d_bias, out=product))).mul_(tau)
        d_z.add_(torch.mul(z, c, out=product)).add_(torch.mul(g, slope, out=product))
        d_z.mul_(tau).addcmul_(d_bias, z, value=-2)
        total[0] += blocks.over_values(d_z)
        total[1] += blocks.over_values(torch.mul(d_z, z, out=product))
        total[2] += blocks.over_values(d_bias)
        d_x[block] = _over_clusters_(d_z.mul_(blocks.half))
    total[0] /= SQRT_2
    return d_x_ncs, total


BLOCKED = ElementPasses(_sums, _mix, _gradient_sums, _gradient)
