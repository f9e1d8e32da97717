# ruff: noqa: N803, RUF005
# mypy: ignore-errors
# Kernels are in Triton's language: no types, tuples by concatenation, sizes in capitals as its users write them.
"""The passes as Triton kernels.

A program serves one sample and BC of its channels, and goes over their S positions in tiles ``(BC, BS)``; tails
are masked. Strides are arguments, so that the same kernel reads channels first (BC small, BS large) and channels
last (BC large, BS small); the tuner finds which. Values are widened to the type of the small tensors as they are
read. Small tensors are contiguous: ``(N, C)``, ``(K, C)``, and ``(J, N, C)`` for J sums.
"""

import os

import triton
import triton.language as tl

INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
LOG2_E = tl.constexpr(1.4426950408889634)


def _tiles() -> list[triton.Config]:
    if INTERPRETED:  # nothing to measure; small, so that small inputs have several tiles and tails
        return [triton.Config({"BC": 2, "BS": 8})]
    shapes = [(1, 1024, 4), (1, 4096, 8), (4, 256, 4), (16, 64, 4), (32, 32, 4), (64, 16, 4), (128, 16, 8)]
    return [triton.Config({"BC": bc, "BS": bs}, num_warps=warps) for bc, bs, warps in shapes]


_tuned = triton.autotune(_tiles(), key=["C", "S", "x_c", "x_s", "K"])


@triton.jit
def _channels(C, BC: tl.constexpr):
    """The sample and the channels ``(BC, 1)`` of this program."""
    blocks = tl.cdiv(C, BC)
    sample = (tl.program_id(0) // blocks).to(tl.int64)
    return sample, ((tl.program_id(0) % blocks) * BC + tl.arange(0, BC))[:, None]


@triton.jit
def _small(pointer, row, c, C):
    """The values of channels ``c`` in a row of a small tensor, ``(BC, 1)``."""
    return tl.load(pointer + row * C + c, mask=c < C, other=0.0)


@triton.jit
def sample_moments(x, shift, mean, var, C, S, x_n, x_c, x_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr):
    """Mean of x − shift, and variance, by merging those of tiles: one read, and no difference of large sums."""
    n, c = _channels(C, BC)
    shifts = _small(shift, 0, c, C)
    means = tl.zeros_like(shifts)
    squares = tl.zeros_like(shifts)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(shifts.dtype) - shifts
        count = tl.minimum(S - start, BS).to(shifts.dtype)
        tile_mean = tl.sum(tl.where(inside, values, 0.0), 1, keep_dims=True) / count
        centred = tl.where(inside, values - tile_mean, 0.0)
        delta = tile_mean - means
        share = count / (start + count)
        squares += tl.sum(centred * centred, 1, keep_dims=True) + delta * delta * start * share
        means += delta * share
    tl.store(mean + n * C + c, means, mask=c < C)
    tl.store(var + n * C + c, squares / S, mask=c < C)


@triton.jit
def sample_affine(
    x, y, shift, slope, offset, C, S, x_n, x_c, x_s, y_n, y_c, y_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr
):
    """slope (x − shift) + offset."""
    n, c = _channels(C, BC)
    shifts, slopes, offsets = _small(shift, 0, c, C), _small(slope, n, c, C), _small(offset, n, c, C)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(shifts.dtype) - shifts
        out = values * slopes + offsets
        tl.store(y + n * y_n + c * y_c + s * y_s, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def sample_gradient_sums(
    g, x, shift, product, total, C, S, g_n, g_c, g_s, x_n, x_c, x_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr
):
    """Σ g (x − shift) and Σ g."""
    n, c = _channels(C, BC)
    shifts = _small(shift, 0, c, C)
    products = tl.zeros_like(shifts)
    totals = tl.zeros_like(shifts)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(shifts.dtype) - shifts
        gradients = tl.load(g + n * g_n + c * g_c + s * g_s, mask=inside, other=0.0).to(shifts.dtype)
        products += tl.sum(gradients * values, 1, keep_dims=True)
        totals += tl.sum(gradients, 1, keep_dims=True)
    tl.store(product + n * C + c, products, mask=c < C)
    tl.store(total + n * C + c, totals, mask=c < C)


@triton.jit
def sample_gradient(
    g, x, d_x, shift, slope, spread, offset, C, S,
    g_n, g_c, g_s, x_n, x_c, x_s, d_n, d_c, d_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr
):  # fmt: skip
    """slope g + spread (x − shift) + offset."""
    n, c = _channels(C, BC)
    shifts, slopes = _small(shift, 0, c, C), _small(slope, n, c, C)
    spreads, offsets = _small(spread, n, c, C), _small(offset, n, c, C)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(shifts.dtype) - shifts
        gradients = tl.load(g + n * g_n + c * g_c + s * g_s, mask=inside, other=0.0).to(shifts.dtype)
        out = slopes * gradients + (spreads * values + offsets)
        tl.store(d_x + n * d_n + c * d_c + s * d_s, out.to(d_x.dtype.element_ty), mask=inside)


@triton.jit
def _logit(values, mean, rstd, bias, k, c, C):
    z = (values - _small(mean, k, c, C)) * _small(rstd, k, c, C)
    return z, _small(bias, k, c, C) - 0.5 * z * z


@triton.jit
def _clusters(values, mean, rstd, bias, c, C, K: tl.constexpr):
    """Tuples of τ_k and z_k, with K − 1 exponentials: the largest one's is 1."""
    z, best = _logit(values, mean, rstd, bias, 0, c, C)
    zs = (z,)
    beats = ()
    losers = ()
    for k in tl.static_range(1, K):
        z, logit = _logit(values, mean, rstd, bias, k, c, C)
        zs = zs + (z,)
        beats = beats + (logit > best,)
        losers = losers + (tl.minimum(logit, best),)
        best = tl.maximum(logit, best)
    total = tl.full(best.shape, 1.0, best.dtype)
    powers = ()
    for k in tl.static_range(K - 1):
        power = tl.exp2((losers[k] - best) * LOG2_E)
        powers = powers + (power,)
        total += power
    winner = 1.0 / total
    taus = ()
    for i in tl.static_range(K - 1):
        power = powers[K - 2 - i] * (1.0 / total)
        taus = (tl.where(beats[K - 2 - i], winner, power),) + taus
        winner = tl.where(beats[K - 2 - i], power, winner)
    return (winner,) + taus, zs


@triton.jit
def element_sums(x, mean, rstd, bias, out, N, C, S, x_n, x_c, x_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr):
    """Σ τ, Σ τz, Σ τz² of a sample's channels, to ``out`` ``(3 K, N, C)``."""
    n, c = _channels(C, BC)
    zero = tl.zeros_like(_small(mean, 0, c, C))
    sums = ()
    for _ in tl.static_range(3 * K):
        sums = sums + (zero,)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(zero.dtype)
        tau, z = _clusters(values, mean, rstd, bias, c, C, K)
        zeroth = ()
        first = ()
        second = ()
        for k in tl.static_range(K):
            t = tl.where(inside, tau[k], 0.0)
            zeroth = zeroth + (sums[k] + tl.sum(t, 1, keep_dims=True),)
            first = first + (sums[K + k] + tl.sum(t * z[k], 1, keep_dims=True),)
            second = second + (sums[2 * K + k] + tl.sum(t * z[k] * z[k], 1, keep_dims=True),)
        sums = zeroth + first + second
    for j in tl.static_range(3 * K):
        tl.store(out + (j * N + n) * C + c, sums[j], mask=c < C)


@triton.jit
def element_mix(
    x, y, mean, rstd, bias, slope, offset, C, S,
    x_n, x_c, x_s, y_n, y_c, y_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr
):  # fmt: skip
    """Σ_k τ_k (slope_k z_k + offset_k)."""
    n, c = _channels(C, BC)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(mean.dtype.element_ty)
        tau, z = _clusters(values, mean, rstd, bias, c, C, K)
        out = tl.zeros_like(values)
        for k in tl.static_range(K):
            out += tau[k] * (_small(slope, k, c, C) * z[k] + _small(offset, k, c, C))
        tl.store(y + n * y_n + c * y_c + s * y_s, out.to(y.dtype.element_ty), mask=inside)


@triton.jit
def element_gradient_sums(
    g, x, mean, rstd, bias, out, N, C, S,
    g_n, g_c, g_s, x_n, x_c, x_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr
):  # fmt: skip
    """Σ g τz and Σ g τ of a sample's channels, to ``out`` ``(2 K, N, C)``."""
    n, c = _channels(C, BC)
    zero = tl.zeros_like(_small(mean, 0, c, C))
    sums = ()
    for _ in tl.static_range(2 * K):
        sums = sums + (zero,)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(zero.dtype)
        gradients = tl.load(g + n * g_n + c * g_c + s * g_s, mask=inside, other=0.0).to(zero.dtype)
        tau, z = _clusters(values, mean, rstd, bias, c, C, K)
        products = ()
        weights = ()
        for k in tl.static_range(K):
            products = products + (sums[k] + tl.sum(gradients * tau[k] * z[k], 1, keep_dims=True),)
            weights = weights + (sums[K + k] + tl.sum(gradients * tau[k], 1, keep_dims=True),)
        sums = products + weights
    for j in tl.static_range(2 * K):
        tl.store(out + (j * N + n) * C + c, sums[j], mask=c < C)


@triton.jit
def element_gradient(
    g, x, d_x, mean, rstd, bias, slope, offset, d_sums, out, N, C, S,
    g_n, g_c, g_s, x_n, x_c, x_s, d_n, d_c, d_s, K: tl.constexpr, BC: tl.constexpr, BS: tl.constexpr
):  # fmt: skip
    """The gradient of x, and Σ ∂z, Σ ∂z z, Σ ∂b of a sample's channels, to ``out`` ``(3 K, N, C)``."""
    n, c = _channels(C, BC)
    zero = tl.zeros_like(_small(mean, 0, c, C))
    sums = ()
    for _ in tl.static_range(3 * K):
        sums = sums + (zero,)
    for start in range(0, S, BS):
        s = start + tl.arange(0, BS)[None, :]
        inside = (c < C) & (s < S)
        values = tl.load(x + n * x_n + c * x_c + s * x_s, mask=inside, other=0.0).to(zero.dtype)
        gradients = tl.load(g + n * g_n + c * g_c + s * g_s, mask=inside, other=0.0).to(zero.dtype)
        tau, z = _clusters(values, mean, rstd, bias, c, C, K)
        mean_d_tau = tl.zeros_like(values)
        d_taus = ()
        for k in tl.static_range(K):
            through_y = gradients * (_small(slope, k, c, C) * z[k] + _small(offset, k, c, C))
            square = _small(d_sums, K + k, c, C) + _small(d_sums, 2 * K + k, c, C) * z[k]
            d_tau = through_y + _small(d_sums, k, c, C) + z[k] * square
            mean_d_tau += tau[k] * d_tau
            d_taus = d_taus + (d_tau,)
        d_values = tl.zeros_like(values)
        over_z = ()
        over_zz = ()
        over_bias = ()
        for k in tl.static_range(K):
            d_bias = tl.where(inside, tau[k] * (d_taus[k] - mean_d_tau), 0.0)
            straight = gradients * _small(slope, k, c, C) + _small(d_sums, K + k, c, C)
            straight += 2.0 * _small(d_sums, 2 * K + k, c, C) * z[k]
            d_z = tl.where(inside, tau[k] * straight - z[k] * d_bias, 0.0)
            d_values += _small(rstd, k, c, C) * d_z
            over_z = over_z + (sums[k] + tl.sum(d_z, 1, keep_dims=True),)
            over_zz = over_zz + (sums[K + k] + tl.sum(d_z * z[k], 1, keep_dims=True),)
            over_bias = over_bias + (sums[2 * K + k] + tl.sum(d_bias, 1, keep_dims=True),)
        sums = over_z + over_zz + over_bias
        tl.store(d_x + n * d_n + c * d_c + s * d_s, d_values.to(d_x.dtype.element_ty), mask=inside)
    for j in tl.static_range(3 * K):
        tl.store(out + (j * N + n) * C + c, sums[j], mask=c < C)


KERNELS = {
    kernel.__name__: _tuned(kernel)
    for kernel in (
        sample_moments,
        sample_affine,
        sample_gradient_sums,
        sample_gradient,
        element_sums,
        element_mix,
        element_gradient_sums,
        element_gradient,
    )
}
