# mypy: ignore-errors
# Triton's decorators have no types.
r"""The passes over activations on a GPU, by Triton: what touches a whole batch, and nothing else.

The formulas are those of :mod:`~uan_da.norms.uan.kernels.sample_cpu` and
:mod:`~uan_da.norms.uan.kernels.element_cpu`, here with :math:`z = (x - μ)\, r`, :math:`r = (σ^2 + ε)^{-1/2}` and
:math:`τ_k ∝ λ_k r_k e^{-z_k^2 / 2}`.

A program has ``width`` channels, and ``length`` positions at a time, ``steps`` times. Of samples, they are of one
sample, which has ``parts`` programs; of elements, they are of all samples in a row, ``total`` positions, and all K
clusters, up to a power of two, are one more axis. The Q sums of a program go to memory, ``(N, P, Q, C)`` or
``(P, Q, K, C)``, and are added up later: their order does not depend on the GPU. Activations of half precision are read
and written as they are; the maths has the type of the other operands.
"""

import triton
import triton.language as tl

MEAN, RSTD, BIAS, SLOPE, OFFSET, MASS, FIRST, SECOND = (tl.constexpr(row) for row in range(8))
"""Rows of μ, r, log(λ r), α, δ, ∂S_0, ∂S_1, ∂S_2, ``(R, K, C)``."""


@triton.jit
def _of_sample(step, channels, positions, of_channel, of_position, parts, width: tl.constexpr, length: tl.constexpr):
    """Where a tile of a sample is, in 64 bits, and what of it there is."""
    c = (tl.program_id(1) * width + tl.arange(0, width))[:, None]
    p = (step * length + tl.arange(0, length))[None, :]
    sample = (tl.program_id(0) // parts).to(tl.int64)
    at = sample * channels * positions + c.to(tl.int64) * of_channel + p.to(tl.int64) * of_position
    return at, (c < channels) & (p < positions)


@triton.jit
def _column(values, row, channels, width: tl.constexpr):
    """Of ``(N, C)`` or ``(1, C)``."""
    c = tl.program_id(1) * width + tl.arange(0, width)
    return tl.load(values + row.to(tl.int64) * channels + c, c < channels, 0.0)[:, None]


@triton.jit
def _store_sums(out, first, second, channels, width: tl.constexpr):
    c = tl.program_id(1) * width + tl.arange(0, width)
    at = out + tl.program_id(0).to(tl.int64) * 2 * channels + c
    tl.store(at, first, c < channels)
    tl.store(at + channels, second, c < channels)


@triton.jit
def sample_moments(
    x_at, shift_at, out, channels, positions, of_channel, of_position, parts, steps,
    width: tl.constexpr, length: tl.constexpr,
):  # fmt: skip
    """The mean of x − s and Σ (x − s − mean)², merged tile by tile, so that no offset takes digits away."""
    number = shift_at.dtype.element_ty
    shift = _column(shift_at, tl.program_id(0) * 0, channels, width)
    mean, squares = tl.zeros([width], number), tl.zeros([width], number)
    start = (tl.program_id(0) % parts) * steps
    for step in range(start, start + steps):
        at, there = _of_sample(step, channels, positions, of_channel, of_position, parts, width, length)
        x = tl.where(there, tl.load(x_at + at, there, 0.0).to(number) - shift, 0.0)
        before = ((step - start) * length).to(number)
        count = tl.minimum(tl.maximum(positions - step * length, 0), length).to(number)
        own = tl.sum(x, 1) / tl.maximum(count, 1.0)
        centred = tl.where(there, x - own[:, None], 0.0)
        gap, share = own - mean, count / tl.maximum(before + count, 1.0)
        mean += gap * share
        squares += tl.sum(centred * centred, 1) + gap * gap * (before * share)
    _store_sums(out, mean, squares, channels, width)


@triton.jit
def first_moments(
    x_at, initialized_at, shift_at, out, channels, positions, of_channel, of_position, parts, steps,
    width: tl.constexpr, length: tl.constexpr,
):  # fmt: skip
    """The same of the batch that starts the clusters; of a later one nothing is read, and nothing stored."""
    if tl.load(initialized_at) == 0:
        sample_moments(
            x_at, shift_at, out, channels, positions, of_channel, of_position, parts, steps, width, length
        )  # fmt: skip


@triton.jit
def sample_map(
    x_at, y_at, shift_at, slope_at, offset_at, channels, positions, of_channel, of_position, parts, steps,
    width: tl.constexpr, length: tl.constexpr,
):  # fmt: skip
    """y = A (x − s) + B."""
    number = shift_at.dtype.element_ty
    sample = tl.program_id(0) // parts
    shift = _column(shift_at, sample * 0, channels, width)
    slope, offset = _column(slope_at, sample, channels, width), _column(offset_at, sample, channels, width)
    start = (tl.program_id(0) % parts) * steps
    for step in range(start, start + steps):
        at, there = _of_sample(step, channels, positions, of_channel, of_position, parts, width, length)
        x = tl.load(x_at + at, there, 0.0).to(number)
        tl.store(y_at + at, (slope * (x - shift) + offset).to(y_at.dtype.element_ty), there)


@triton.jit
def sample_products(
    x_at, g_at, shift_at, out, channels, positions, of_channel, of_position, parts, steps,
    width: tl.constexpr, length: tl.constexpr,
):  # fmt: skip
    """∂A = Σ g (x − s) and ∂B = Σ g."""
    number = shift_at.dtype.element_ty
    shift = _column(shift_at, tl.program_id(0) * 0, channels, width)
    of_slope, of_offset = tl.zeros([width, length], number), tl.zeros([width, length], number)
    start = (tl.program_id(0) % parts) * steps
    for step in range(start, start + steps):
        at, there = _of_sample(step, channels, positions, of_channel, of_position, parts, width, length)
        g = tl.load(g_at + at, there, 0.0).to(number)
        of_slope += g * (tl.load(x_at + at, there, 0.0).to(number) - shift)
        of_offset += g
    _store_sums(out, tl.sum(of_slope, 1), tl.sum(of_offset, 1), channels, width)


@triton.jit
def sample_gradient(
    x_at, g_at, d_x_at, shift_at, slope_at, mean_at, of_var_at, of_mean_at,
    channels, positions, of_channel, of_position, parts, steps, width: tl.constexpr, length: tl.constexpr,
):  # fmt: skip
    """∂x = A g + 2 ∂v / S (x − s − m) + ∂m / S; the factors of ∂v and ∂m come with them."""
    number = shift_at.dtype.element_ty
    sample = tl.program_id(0) // parts
    shift = _column(shift_at, sample * 0, channels, width)
    slope, mean = _column(slope_at, sample, channels, width), _column(mean_at, sample, channels, width)
    of_var, of_mean = _column(of_var_at, sample, channels, width), _column(of_mean_at, sample, channels, width)
    start = (tl.program_id(0) % parts) * steps
    for step in range(start, start + steps):
        at, there = _of_sample(step, channels, positions, of_channel, of_position, parts, width, length)
        x, g = tl.load(x_at + at, there, 0.0).to(number), tl.load(g_at + at, there, 0.0).to(number)
        gradient = slope * g + (of_var * (x - shift - mean) + of_mean)
        tl.store(d_x_at + at, gradient.to(d_x_at.dtype.element_ty), there)


@triton.jit
def _of_all(step, channels, positions, of_channel, of_position, total, width: tl.constexpr, length: tl.constexpr):
    """Where a tile of all samples is, ``(1, width, length)``, and what of it there is."""
    c = (tl.program_id(1) * width + tl.arange(0, width))[None, :, None]
    p = (step * length + tl.arange(0, length))[None, None, :]
    sample, position = (p // positions).to(tl.int64), (p % positions).to(tl.int64)
    at = sample * channels * positions + c.to(tl.int64) * of_channel + position * of_position
    return at, (c < channels) & (p < total)


@triton.jit
def _row(rows, row, channels, clusters, padded: tl.constexpr, width: tl.constexpr):
    k, c = tl.arange(0, padded)[:, None], (tl.program_id(1) * width + tl.arange(0, width))[None, :]
    at = rows + (row * clusters + k) * channels + c
    return tl.load(at, (k < clusters) & (c < channels), 0.0)[:, :, None]


@triton.jit
def _mixture(rows, channels, clusters, padded: tl.constexpr, width: tl.constexpr):
    """μ, r and log(λ r); a cluster that only fills up a power of two has no share."""
    mean = _row(rows, MEAN, channels, clusters, padded, width)
    rstd = _row(rows, RSTD, channels, clusters, padded, width)
    bias = _row(rows, BIAS, channels, clusters, padded, width)
    return mean, rstd, tl.where(tl.arange(0, padded)[:, None, None] < clusters, bias, -float("inf"))


@triton.jit
def _assigned(
    step, x_at, mean, rstd, bias, channels, positions, of_channel, of_position, total,
    width: tl.constexpr, length: tl.constexpr,
):  # fmt: skip
    """Where a tile is and what of it there is; its z, and its τ, which is 0 of what is not there."""
    at, there = _of_all(step, channels, positions, of_channel, of_position, total, width, length)
    z = (tl.load(x_at + at, there, 0.0).to(mean.dtype) - mean) * rstd
    logits = bias - 0.5 * z * z
    weights = tl.exp(logits - tl.max(logits, 0, keep_dims=True))
    return at, there, z, tl.where(there, weights / tl.sum(weights, 0, keep_dims=True), 0.0)


@triton.jit
def _store_row(
    out, quantity, quantities: tl.constexpr, sums, channels, clusters, padded: tl.constexpr, width: tl.constexpr
):
    """The sum over the tile."""
    k, c = tl.arange(0, padded)[:, None], (tl.program_id(1) * width + tl.arange(0, width))[None, :]
    at = ((tl.program_id(0).to(tl.int64) * quantities + quantity) * clusters + k) * channels + c
    tl.store(out + at, tl.sum(sums, 2), (k < clusters) & (c < channels))


@triton.jit
def element_sums(
    x_at, rows, out, clusters, channels, positions, of_channel, of_position, total, steps,
    width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr,
):  # fmt: skip
    """Σ τ, Σ τz, Σ τz²."""
    number = rows.dtype.element_ty
    mass = tl.zeros([padded, width, length], number)
    first, second = tl.zeros([padded, width, length], number), tl.zeros([padded, width, length], number)
    mean, rstd, bias = _mixture(rows, channels, clusters, padded, width)
    start = tl.program_id(0) * steps
    for step in range(start, start + steps):
        _at, _there, z, tau = _assigned(
            step, x_at, mean, rstd, bias, channels, positions, of_channel, of_position, total, width, length
        )  # fmt: skip
        mass += tau
        first += tau * z
        second += tau * z * z
    _store_row(out, 0, 3, mass, channels, clusters, padded, width)
    _store_row(out, 1, 3, first, channels, clusters, padded, width)
    _store_row(out, 2, 3, second, channels, clusters, padded, width)


@triton.jit
def element_map(
    x_at, y_at, rows, clusters, channels, positions, of_channel, of_position, total, steps,
    width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr,
):  # fmt: skip
    """y = Σ_k τ (α z + δ)."""
    slope = _row(rows, SLOPE, channels, clusters, padded, width)
    offset = _row(rows, OFFSET, channels, clusters, padded, width)
    mean, rstd, bias = _mixture(rows, channels, clusters, padded, width)
    start = tl.program_id(0) * steps
    for step in range(start, start + steps):
        at, there, z, tau = _assigned(
            step, x_at, mean, rstd, bias, channels, positions, of_channel, of_position, total, width, length
        )  # fmt: skip
        y = tl.sum(tau * (slope * z + offset), 0, keep_dims=True)
        tl.store(y_at + at, y.to(y_at.dtype.element_ty), there)


@triton.jit
def element_products(
    x_at, g_at, rows, out, clusters, channels, positions, of_channel, of_position, total, steps,
    width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr,
):  # fmt: skip
    """∂α = Σ g τ z and ∂δ = Σ g τ."""
    number = rows.dtype.element_ty
    of_slope, of_offset = tl.zeros([padded, width, length], number), tl.zeros([padded, width, length], number)
    mean, rstd, bias = _mixture(rows, channels, clusters, padded, width)
    start = tl.program_id(0) * steps
    for step in range(start, start + steps):
        at, there, z, tau = _assigned(
            step, x_at, mean, rstd, bias, channels, positions, of_channel, of_position, total, width, length
        )  # fmt: skip
        g = tl.load(g_at + at, there, 0.0).to(number)
        of_slope += g * tau * z
        of_offset += g * tau
    _store_row(out, 0, 2, of_slope, channels, clusters, padded, width)
    _store_row(out, 1, 2, of_offset, channels, clusters, padded, width)


@triton.jit
def element_gradient(
    x_at, g_at, d_x_at, rows, out, clusters, channels, positions, of_channel, of_position, total, steps,
    width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr,
):  # fmt: skip
    """∂x; and Σ ∂ℓ, Σ z ∂ℓ, Σ z² ∂ℓ of the logits ℓ."""
    number = rows.dtype.element_ty
    d_bias = tl.zeros([padded, width, length], number)
    first, second = tl.zeros([padded, width, length], number), tl.zeros([padded, width, length], number)
    mean, rstd, bias = _mixture(rows, channels, clusters, padded, width)
    slope = _row(rows, SLOPE, channels, clusters, padded, width)
    offset = _row(rows, OFFSET, channels, clusters, padded, width)
    of_mass = _row(rows, MASS, channels, clusters, padded, width)
    of_first = _row(rows, FIRST, channels, clusters, padded, width)
    of_second = _row(rows, SECOND, channels, clusters, padded, width)
    start = tl.program_id(0) * steps
    for step in range(start, start + steps):
        at, there, z, tau = _assigned(
            step, x_at, mean, rstd, bias, channels, positions, of_channel, of_position, total, width, length
        )  # fmt: skip
        g = tl.load(g_at + at, there, 0.0).to(number)
        curve = of_second * z
        h = g * slope + of_first + curve
        u = h * z + g * offset + of_mass
        d_logits = tau * (u - tl.sum(tau * u, 0, keep_dims=True))
        d_z = tau * (h + curve) - z * d_logits
        tl.store(d_x_at + at, tl.sum(d_z * rstd, 0, keep_dims=True).to(d_x_at.dtype.element_ty), there)
        d_bias += d_logits
        first += z * d_logits
        second += z * z * d_logits
    _store_row(out, 0, 3, d_bias, channels, clusters, padded, width)
    _store_row(out, 1, 3, first, channels, clusters, padded, width)
    _store_row(out, 2, 3, second, channels, clusters, padded, width)
