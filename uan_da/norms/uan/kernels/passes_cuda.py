# mypy: ignore-errors
# Triton's decorators have no types.
r"""The passes over activations on a GPU, by Triton: what touches a whole batch, and nothing else.

The formulas are those of :mod:`~uan_da.norms.uan.kernels.sample_cpu` and
:mod:`~uan_da.norms.uan.kernels.element_cpu`, here with :math:`z = (x - μ)\, r`, :math:`r = (σ^2 + ε)^{-1/2}` and
:math:`τ_k ∝ λ_k r_k e^{-z_k^2 / 2}`.

A program has ``width`` channels, and ``length`` positions at a time, ``steps`` times. Of samples, they are of one
sample, which has ``parts`` programs; of elements, they are of all samples in a row, ``total`` positions, and all K
clusters, up to a power of two, are one more axis. The Q sums of a program go to memory, ``(N, P, Q, C)`` or
``(1, P, Q, K, C)``, and are added up later: their order does not depend on the GPU. Activations of half precision are
read and written as they are; the maths has the type of the other operands. ``shape`` is C, S, the distance in memory of
two channels, that of two positions, ``parts`` or ``total``, ``steps``, and of elements K.
"""

import triton
import triton.language as tl

MEAN, RSTD, BIAS, SLOPE, OFFSET, MASS, FIRST, SECOND = (tl.constexpr(row) for row in range(8))
"""Rows of μ, r, log(λ r), α, δ, ∂S_0, ∂S_1, ∂S_2, ``(R, K, C)``."""


@triton.jit
def _of_sample(sample, step, shape, width: tl.constexpr, length: tl.constexpr):
    """Where a tile of a sample is, in 64 bits, and what of it there is."""
    channels, positions, of_channel, of_position = shape[0], shape[1], shape[2], shape[3]
    c = (tl.program_id(1) * width + tl.arange(0, width))[:, None]
    p = (step * length + tl.arange(0, length))[None, :]
    at = sample.to(tl.int64) * channels * positions + c.to(tl.int64) * of_channel + p.to(tl.int64) * of_position
    return at, (c < channels) & (p < positions)


@triton.jit
def _part(shape):
    """The sample, the first step of a program, and the one behind its last."""
    parts, steps = shape[4], shape[5]
    start = (tl.program_id(0) % parts) * steps
    return tl.program_id(0) // parts, start, start + steps


@triton.jit
def _column(values, row, shape, width: tl.constexpr):
    """Of ``(N, C)`` or ``(1, C)``."""
    channels, c = shape[0], tl.program_id(1) * width + tl.arange(0, width)
    return tl.load(values + row.to(tl.int64) * channels + c, c < channels, 0.0)[:, None]


@triton.jit
def _store_sums(out, first, second, shape, width: tl.constexpr):
    channels, c = shape[0], tl.program_id(1) * width + tl.arange(0, width)
    at = out + tl.program_id(0).to(tl.int64) * 2 * channels + c
    tl.store(at, first, c < channels)
    tl.store(at + channels, second, c < channels)


@triton.jit
def sample_moments(x_at, shift_at, out, shape, width: tl.constexpr, length: tl.constexpr):
    """The mean of x − s and Σ (x − s − mean)², merged tile by tile, so that no offset takes digits away."""
    number = shift_at.dtype.element_ty
    sample, start, end = _part(shape)
    shift = _column(shift_at, sample * 0, shape, width)
    mean, squares = tl.zeros([width], number), tl.zeros([width], number)
    for step in range(start, end):
        at, there = _of_sample(sample, step, shape, width, length)
        x = tl.where(there, tl.load(x_at + at, there, 0.0).to(number) - shift, 0.0)
        before = ((step - start) * length).to(number)
        count = tl.minimum(tl.maximum(shape[1] - step * length, 0), length).to(number)
        own = tl.sum(x, 1) / tl.maximum(count, 1.0)
        centred = tl.where(there, x - own[:, None], 0.0)
        gap, share = own - mean, count / tl.maximum(before + count, 1.0)
        mean += gap * share
        squares += tl.sum(centred * centred, 1) + gap * gap * (before * share)
    _store_sums(out, mean, squares, shape, width)


@triton.jit
def first_moments(x_at, initialized_at, shift_at, out, shape, width: tl.constexpr, length: tl.constexpr):
    """The same of the batch that starts the clusters; of a later one nothing is read, and nothing stored."""
    if tl.load(initialized_at) == 0:
        sample_moments(x_at, shift_at, out, shape, width, length)


@triton.jit
def sample_map(x_at, y_at, shift_at, slope_at, offset_at, shape, width: tl.constexpr, length: tl.constexpr):
    """y = A (x − s) + B."""
    number = shift_at.dtype.element_ty
    sample, start, end = _part(shape)
    shift = _column(shift_at, sample * 0, shape, width)
    slope, offset = _column(slope_at, sample, shape, width), _column(offset_at, sample, shape, width)
    for step in range(start, end):
        at, there = _of_sample(sample, step, shape, width, length)
        x = tl.load(x_at + at, there, 0.0).to(number)
        tl.store(y_at + at, (slope * (x - shift) + offset).to(y_at.dtype.element_ty), there)


@triton.jit
def sample_products(x_at, g_at, shift_at, out, shape, width: tl.constexpr, length: tl.constexpr):
    """∂A = Σ g (x − s) and ∂B = Σ g."""
    number = shift_at.dtype.element_ty
    sample, start, end = _part(shape)
    shift = _column(shift_at, sample * 0, shape, width)
    of_slope, of_offset = tl.zeros([width, length], number), tl.zeros([width, length], number)
    for step in range(start, end):
        at, there = _of_sample(sample, step, shape, width, length)
        g = tl.load(g_at + at, there, 0.0).to(number)
        of_slope += g * (tl.load(x_at + at, there, 0.0).to(number) - shift)
        of_offset += g
    _store_sums(out, tl.sum(of_slope, 1), tl.sum(of_offset, 1), shape, width)


@triton.jit
def sample_gradient(
    x_at, g_at, d_x_at, shift_at, slope_at, mean_at, of_var_at, of_mean_at, shape,
    width: tl.constexpr, length: tl.constexpr,
):  # fmt: skip
    """∂x = A g + 2 ∂v / S (x − s − m) + ∂m / S; the factors of ∂v and ∂m come with them."""
    number = shift_at.dtype.element_ty
    sample, start, end = _part(shape)
    shift = _column(shift_at, sample * 0, shape, width)
    slope, mean = _column(slope_at, sample, shape, width), _column(mean_at, sample, shape, width)
    of_var, of_mean = _column(of_var_at, sample, shape, width), _column(of_mean_at, sample, shape, width)
    for step in range(start, end):
        at, there = _of_sample(sample, step, shape, width, length)
        x, g = tl.load(x_at + at, there, 0.0).to(number), tl.load(g_at + at, there, 0.0).to(number)
        gradient = slope * g + (of_var * (x - shift - mean) + of_mean)
        tl.store(d_x_at + at, gradient.to(d_x_at.dtype.element_ty), there)


@triton.jit
def _of_all(step, shape, width: tl.constexpr, length: tl.constexpr):
    """Where a tile of all samples is, ``(1, width, length)``, and what of it there is."""
    channels, positions, of_channel, of_position, total = shape[0], shape[1], shape[2], shape[3], shape[4]
    c = (tl.program_id(1) * width + tl.arange(0, width))[None, :, None]
    p = (step * length + tl.arange(0, length))[None, None, :]
    sample, position = (p // positions).to(tl.int64), (p % positions).to(tl.int64)
    at = sample * channels * positions + c.to(tl.int64) * of_channel + position * of_position
    return at, (c < channels) & (p < total)


@triton.jit
def _row(rows, row, shape, padded: tl.constexpr, width: tl.constexpr):
    channels, clusters = shape[0], shape[6]
    k, c = tl.arange(0, padded)[:, None], (tl.program_id(1) * width + tl.arange(0, width))[None, :]
    at = rows + (row * clusters + k) * channels + c
    return tl.load(at, (k < clusters) & (c < channels), 0.0)[:, :, None]


@triton.jit
def _mixture(rows, shape, padded: tl.constexpr, width: tl.constexpr):
    """μ, r and log(λ r); a cluster that only fills up a power of two has no share."""
    mean = _row(rows, MEAN, shape, padded, width)
    rstd = _row(rows, RSTD, shape, padded, width)
    bias = _row(rows, BIAS, shape, padded, width)
    return mean, rstd, tl.where(tl.arange(0, padded)[:, None, None] < shape[6], bias, -float("inf"))


@triton.jit
def _assigned(step, x_at, mean, rstd, bias, shape, width: tl.constexpr, length: tl.constexpr):
    """Where a tile is and what of it there is; its z, and its τ, which is 0 of what is not there."""
    at, there = _of_all(step, shape, width, length)
    z = (tl.load(x_at + at, there, 0.0).to(mean.dtype) - mean) * rstd
    logits = bias - 0.5 * z * z
    weights = tl.exp(logits - tl.max(logits, 0, keep_dims=True))
    return at, there, z, tl.where(there, weights / tl.sum(weights, 0, keep_dims=True), 0.0)


@triton.jit
def _store_row(out, quantity, quantities: tl.constexpr, sums, shape, padded: tl.constexpr, width: tl.constexpr):
    """The sum over the tile."""
    channels, clusters = shape[0], shape[6]
    k, c = tl.arange(0, padded)[:, None], (tl.program_id(1) * width + tl.arange(0, width))[None, :]
    at = ((tl.program_id(0).to(tl.int64) * quantities + quantity) * clusters + k) * channels + c
    tl.store(out + at, tl.sum(sums, 2), (k < clusters) & (c < channels))


@triton.jit
def element_sums(x_at, rows, out, shape, width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr):
    """Σ τ, Σ τz, Σ τz²."""
    number = rows.dtype.element_ty
    mass = tl.zeros([padded, width, length], number)
    first, second = tl.zeros([padded, width, length], number), tl.zeros([padded, width, length], number)
    mean, rstd, bias = _mixture(rows, shape, padded, width)
    start = tl.program_id(0) * shape[5]
    for step in range(start, start + shape[5]):
        _at, _there, z, tau = _assigned(step, x_at, mean, rstd, bias, shape, width, length)
        mass += tau
        first += tau * z
        second += tau * z * z
    _store_row(out, 0, 3, mass, shape, padded, width)
    _store_row(out, 1, 3, first, shape, padded, width)
    _store_row(out, 2, 3, second, shape, padded, width)


@triton.jit
def element_map(x_at, y_at, rows, shape, width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr):
    """y = Σ_k τ (α z + δ)."""
    slope = _row(rows, SLOPE, shape, padded, width)
    offset = _row(rows, OFFSET, shape, padded, width)
    mean, rstd, bias = _mixture(rows, shape, padded, width)
    start = tl.program_id(0) * shape[5]
    for step in range(start, start + shape[5]):
        at, there, z, tau = _assigned(step, x_at, mean, rstd, bias, shape, width, length)
        y = tl.sum(tau * (slope * z + offset), 0, keep_dims=True)
        tl.store(y_at + at, y.to(y_at.dtype.element_ty), there)


@triton.jit
def element_products(x_at, g_at, rows, out, shape, width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr):
    """∂α = Σ g τ z and ∂δ = Σ g τ."""
    number = rows.dtype.element_ty
    of_slope, of_offset = tl.zeros([padded, width, length], number), tl.zeros([padded, width, length], number)
    mean, rstd, bias = _mixture(rows, shape, padded, width)
    start = tl.program_id(0) * shape[5]
    for step in range(start, start + shape[5]):
        at, there, z, tau = _assigned(step, x_at, mean, rstd, bias, shape, width, length)
        g = tl.load(g_at + at, there, 0.0).to(number)
        of_slope += g * tau * z
        of_offset += g * tau
    _store_row(out, 0, 2, of_slope, shape, padded, width)
    _store_row(out, 1, 2, of_offset, shape, padded, width)


@triton.jit
def element_gradient(
    x_at, g_at, d_x_at, rows, out, shape, width: tl.constexpr, length: tl.constexpr, padded: tl.constexpr
):
    """∂x; and Σ ∂ℓ, Σ z ∂ℓ, Σ z² ∂ℓ of the logits ℓ."""
    number = rows.dtype.element_ty
    d_bias = tl.zeros([padded, width, length], number)
    first, second = tl.zeros([padded, width, length], number), tl.zeros([padded, width, length], number)
    mean, rstd, bias = _mixture(rows, shape, padded, width)
    slope = _row(rows, SLOPE, shape, padded, width)
    offset = _row(rows, OFFSET, shape, padded, width)
    of_mass = _row(rows, MASS, shape, padded, width)
    of_first = _row(rows, FIRST, shape, padded, width)
    of_second = _row(rows, SECOND, shape, padded, width)
    start = tl.program_id(0) * shape[5]
    for step in range(start, start + shape[5]):
        at, there, z, tau = _assigned(step, x_at, mean, rstd, bias, shape, width, length)
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
    _store_row(out, 0, 3, d_bias, shape, padded, width)
    _store_row(out, 1, 3, first, shape, padded, width)
    _store_row(out, 2, 3, second, shape, padded, width)
