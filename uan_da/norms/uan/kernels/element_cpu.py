# mypy: ignore-errors
# Numba's decorators have no types.
r"""Element assignment on a CPU: four passes over the activations, two forward, two backward, with the algebra in them.

In the clusters' own units, :math:`z = (x - μ)\, r`, :math:`r = (σ^2 + ε)^{-1/2}`, a responsibility is
:math:`τ_k = \mathrm{softmax}_k(\log λ_k + \log r_k - z_k^2/2)`: a cheap function of x, computed in every pass and
stored in none. From the sums :math:`S_j = \sum τ z^j`, with :math:`i = 1/S_0`,

.. math:: z_1 &= S_1 i, \quad z_2 = S_2 i, \quad q = z_2 - z_1^2 + ε r^2 \\
   α &= f γ / \sqrt{q}, \quad δ = β - α z_1 \\
   y &= \sum_k τ_k (α_k z_k + δ_k)

A starved cluster has i = 0 and q = 1, which is (μ, σ²) in place of the moments. Backward, with
:math:`∂α = \sum g τ z` and :math:`∂δ = \sum g τ`,

.. math:: ∂α' &= ∂α - z_1 ∂δ, \quad ∂q = -\tfrac12 ∂α' α / q, \quad ∂(fγ) = ∂α' / \sqrt{q} \\
   ∂S_1 &= -i (α ∂δ + 2 z_1 ∂q), \quad ∂S_2 = i ∂q, \quad ∂S_0 = -(z_1 ∂S_1 + z_2 ∂S_2) \\
   u_k &= g (α_k z_k + δ_k) + ∂S_0 + ∂S_1 z_k + ∂S_2 z_k^2, \quad ∂b_k = τ_k (u_k - \sum_j τ_j u_j) \\
   ∂z_k &= τ_k (g α_k + ∂S_1 + 2 ∂S_2 z_k) - z_k ∂b_k, \quad ∂x = \sum_k r_k ∂z_k \\
   ∂μ &= -r \sum ∂z, \quad ∂\log λ = \sum_c \sum ∂b, \quad ∂σ^2 = -\tfrac12 r^2 (\sum ∂z z + \sum ∂b + 2 ε r^2 ∂q)

Shapes: x, g, y ``(N, S C)``, channels ``last`` or positions; ``clusters``, μ less the shift and σ², ``(2, K, C)``;
``sums`` ``(3, K, C)`` in double precision; ``gain``, f γ, ``(K, C)``. ``each`` is a tuple of K zeros, whose length a
compiler knows, so that loops over clusters unroll.
"""

import math

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.cpython.unsafe.tuple import tuple_setitem
from numba.extending import intrinsic, overload

from uan_da.norms.uan.kernels.parallel import on_threads, take
from uan_da.norms.uan.mixture import MIN_MASS

FAST = {"nsz", "arcp", "contract", "afn", "reassoc"}
compiled = njit(cache=True, fastmath=FAST, error_model="numpy", nogil=True)
inlined = njit(fastmath=FAST, error_model="numpy", inline="always")
LANES = 64
"""Values that a pass takes at once: of as many channels, or of one channel. What it needs of each lane, and its sums,
lie in rows of this constant length, so that a compiler sees that they do not overlap and makes vector instructions."""
MEAN, RSTD, BIAS, SLOPE, OFFSET, MASS, FIRST, SECOND, SUMS = range(9)
"""The rows, of K each: μ, r, log λ + log r, α, δ, ∂S_0, ∂S_1, ∂S_2, and three of sums."""


@intrinsic
def _float_of_bits(typing, bits):
    return types.float32(types.int32), lambda _, builder, __, values: builder.bitcast(values[0], ir.FloatType())


def _exp(x):
    raise NotImplementedError


@overload(_exp, inline="always")
def _exp_of(x):
    """e^x for x ≤ 0; in single precision a polynomial, which becomes vector instructions."""
    if x != types.float32:
        return lambda x: math.exp(x)

    def single(x):
        t = max(x, np.float32(-87)) * np.float32(1.4426950408889634)
        n = np.floor(t + np.float32(0.5))
        r = (t - n) * np.float32(0.6931471805599453)
        p = r * np.float32(1 / 720) + np.float32(1 / 120)
        p = p * r + np.float32(1 / 24)
        p = p * r + np.float32(1 / 6)
        p = p * r + np.float32(0.5)
        p = p * r + np.float32(1)
        p = p * r + np.float32(1)
        return p * _float_of_bits(np.int32((np.int32(n) + np.int32(127)) << np.int32(23)))

    return single


@inlined
def _at(work, row, k, each, i):
    return work[(row * len(each) + k) * LANES + i]


@inlined
def _add(work, row, k, each, i, value):
    work[((SUMS + row) * len(each) + k) * LANES + i] += value


@inlined
def _clusters(v, work, i, each):
    """Tuples of τ_k and z_k of a value in lane ``i``."""
    z, tau = each, each
    for k in range(len(each)):
        z = tuple_setitem(z, k, (v - _at(work, MEAN, k, each, i)) * _at(work, RSTD, k, each, i))
        square = z[k] * z[k]
        tau = tuple_setitem(tau, k, _at(work, BIAS, k, each, i) - work.dtype.type(0.5) * square)
    best = tau[0]
    for k in range(1, len(each)):
        best = max(best, tau[k])
    total = work.dtype.type(0)
    for k in range(len(each)):
        tau = tuple_setitem(tau, k, _exp(tau[k] - best))
        total += tau[k]
    total = work.dtype.type(1) / total
    for k in range(len(each)):
        tau = tuple_setitem(tau, k, tau[k] * total)
    return tau, z


@compiled
def _sum(work, x, g, y, start, width, each):
    """Σ τ, Σ τz, Σ τz²."""
    for i in range(width):
        tau, z = _clusters(x[start + i], work, i, each)
        for k in range(len(each)):
            first = tau[k] * z[k]
            _add(work, 0, k, each, i, tau[k])
            _add(work, 1, k, each, i, first)
            _add(work, 2, k, each, i, first * z[k])


@compiled
def _mix(work, x, g, y, start, width, each):
    """y."""
    for i in range(width):
        tau, z = _clusters(x[start + i], work, i, each)
        total = work.dtype.type(0)
        for k in range(len(each)):
            total += tau[k] * (_at(work, SLOPE, k, each, i) * z[k] + _at(work, OFFSET, k, each, i))
        y[start + i] = total


@compiled
def _sum_gradients(work, x, g, y, start, width, each):
    """∂α and ∂δ."""
    for i in range(width):
        tau, z = _clusters(x[start + i], work, i, each)
        for k in range(len(each)):
            weight = g[start + i] * tau[k]
            _add(work, 0, k, each, i, weight * z[k])
            _add(work, 1, k, each, i, weight)


@compiled
def _differentiate(work, x, g, d_x, start, width, each):
    """∂x; Σ ∂z, Σ ∂z z, Σ ∂b."""
    for i in range(width):
        tau, z = _clusters(x[start + i], work, i, each)
        u, average, d_v = each, work.dtype.type(0), work.dtype.type(0)
        for k in range(len(each)):
            moments = _at(work, FIRST, k, each, i) + _at(work, SECOND, k, each, i) * z[k]
            through_y = g[start + i] * (_at(work, SLOPE, k, each, i) * z[k] + _at(work, OFFSET, k, each, i))
            u = tuple_setitem(u, k, through_y + _at(work, MASS, k, each, i) + moments * z[k])
            average += tau[k] * u[k]
        for k in range(len(each)):
            d_bias = tau[k] * (u[k] - average)
            twice = _at(work, SECOND, k, each, i) * z[k]
            straight = g[start + i] * _at(work, SLOPE, k, each, i) + _at(work, FIRST, k, each, i) + twice + twice
            d_z = tau[k] * straight - z[k] * d_bias
            d_v += _at(work, RSTD, k, each, i) * d_z
            _add(work, 0, k, each, i, d_z)
            _add(work, 1, k, each, i, d_z * z[k])
            _add(work, 2, k, each, i, d_bias)
        d_x[start + i] = d_v


@compiled
def _flush(work, start, out, first, width, step):
    """Add the sums to those of the channels from ``first`` on (``step`` 1), or of one channel (0)."""
    for row in range(len(out)):
        for i in range(width):
            out[row, first + step * i] += work[(start + row) * LANES + i]
            work[(start + row) * LANES + i] = 0


def _over_values(kernel):
    """``run(x, g, y, last, rows, each, threads, sums)``: ``kernel`` over all values, with ``rows`` ``(8 K, C)``."""

    @compiled
    def on_one(counter, x, g, y, last, rows, each, out):
        channels, positions = rows.shape[1], x.shape[1] // rows.shape[1]
        work = np.zeros((len(rows) + out.shape[1]) * LANES, x.dtype)
        n = take(counter)
        while n < len(x):
            out[n] = 0
            for first in range(0, channels, LANES if last else 1):
                width = min(LANES, channels - first)
                for row in range(len(rows)):
                    for i in range(LANES):
                        work[row * LANES + i] = rows[row, min(first + i, channels - 1) if last else first]
                if last:
                    for s in range(positions):
                        kernel(work, x[n], g[n], y[n], s * channels + first, width, each)
                        if s % 256 == 255 or s == positions - 1:
                            _flush(work, len(rows), out[n], first, width, 1)
                else:
                    for s in range(0, positions, LANES):
                        kernel(work, x[n], g[n], y[n], first * positions + s, min(LANES, positions - s), each)
                    _flush(work, len(rows), out[n], first, LANES, 0)
            n = take(counter)

    @compiled
    def run(x, g, y, last, rows, each, threads, sums):
        counter, out = np.zeros(1, np.int64), np.empty((len(x), *sums.shape))
        on_threads(on_one, (counter, x, g, y, last, rows, each, out), threads)
        for row in range(len(sums)):
            for c in range(sums.shape[1]):
                sums[row, c] = 0
                for n in range(len(x)):
                    sums[row, c] += out[n, row, c]

    return run


@compiled
def _rows(shift, clusters, log_prior, gain, bias, eps, sums, values):
    """The rows of :data:`MEAN` to :data:`OFFSET`; of the moments, and i, z_1, z_2, r² and √q, in double precision."""
    clusters_k, channels = gain.shape
    rows, trace = np.zeros((8 * clusters_k, channels), clusters.dtype), np.empty((5, clusters_k, channels))
    for k in range(clusters_k):
        for c in range(channels):
            precision = 1 / (clusters[1, k, c] + np.float64(eps))
            starved = sums[0, k, c] < MIN_MASS * values
            inverse = 0.0 if starved else 1 / sums[0, k, c]
            first, second = sums[1, k, c] * inverse, sums[2, k, c] * inverse
            root = 1.0 if starved else math.sqrt(max(second - first * first, 0) + eps * precision)
            rows[MEAN * clusters_k + k, c] = clusters[0, k, c] + shift[c]
            rows[RSTD * clusters_k + k, c] = math.sqrt(precision)
            rows[BIAS * clusters_k + k, c] = log_prior[k] + 0.5 * math.log(precision)
            rows[SLOPE * clusters_k + k, c] = gain[k, c] / root
            rows[OFFSET * clusters_k + k, c] = bias[c] - gain[k, c] / root * first
            trace[0, k, c], trace[1, k, c], trace[2, k, c] = inverse, first, second
            trace[3, k, c], trace[4, k, c] = precision, root
    return rows, trace


_sum_all, _mix_all = _over_values(_sum), _over_values(_mix)
_sum_gradients_all, _differentiate_all = _over_values(_sum_gradients), _over_values(_differentiate)


@compiled
def forward(x, last, shift, clusters, log_prior, gain, bias, eps, each, threads, y, sums, moments):
    """Fill y, the sums, and the moments (the mean less the shift)."""
    (clusters_k, channels), values = gain.shape, x.size // len(shift)
    flat_sums = sums.reshape(3 * clusters_k, channels)
    flat_sums[:] = 0
    rows, _ = _rows(shift, clusters, log_prior, gain, bias, eps, sums, values)
    _sum_all(x, x, y, last, rows, each, threads, flat_sums)
    rows, trace = _rows(shift, clusters, log_prior, gain, bias, eps, sums, values)
    _mix_all(x, x, y, last, rows, each, threads, np.empty_like(flat_sums))
    for k in range(clusters_k):
        for c in range(channels):
            inverse, first, second, precision, _ = trace[:, k, c]
            moments[0, k, c] = clusters[0, k, c] + first / math.sqrt(precision)
            moments[1, k, c] = max(second - first * first, 0) / precision if inverse > 0 else clusters[1, k, c]


@compiled
def backward(
    g, x, last, shift, sums, clusters, log_prior, gain, bias, eps, each, threads,
    d_x, d_clusters, d_log_prior, d_gain, d_bias
):  # fmt: skip
    """Fill the gradients of x, μ and σ², log λ, f γ and β."""
    clusters_k, channels = gain.shape
    rows, trace = _rows(shift, clusters, log_prior, gain, bias, eps, sums, x.size // channels)
    found, d_root = np.empty((3, clusters_k, channels)), np.empty((clusters_k, channels))
    flat_found = found.reshape(3 * clusters_k, channels)
    _sum_gradients_all(x, g, d_x, last, rows, each, threads, flat_found)
    d_bias[:] = 0
    for k in range(clusters_k):
        for c in range(channels):
            inverse, first, second, _, root = trace[:, k, c]
            slope = gain[k, c] / root
            d_slope, d_offset = found[0, k, c] - first * found[1, k, c], found[1, k, c]
            d_root[k, c] = -0.5 * d_slope * slope / (root * root) if inverse > 0 else 0.0
            d_first = -inverse * (slope * d_offset + 2 * first * d_root[k, c])
            d_second = inverse * d_root[k, c]
            d_gain[k, c] = d_slope / root
            d_bias[c] += d_offset
            rows[MASS * clusters_k + k, c] = -(first * d_first + second * d_second)
            rows[FIRST * clusters_k + k, c] = d_first
            rows[SECOND * clusters_k + k, c] = d_second
    _differentiate_all(x, g, d_x, last, rows, each, threads, flat_found)
    for k in range(clusters_k):
        total = 0.0
        for c in range(channels):
            precision = trace[3, k, c]
            d_clusters[0, k, c] = -math.sqrt(precision) * found[0, k, c]
            of_var = found[1, k, c] + found[2, k, c] + 2 * eps * precision * d_root[k, c]
            d_clusters[1, k, c] = -0.5 * precision * of_var
            total += found[2, k, c]
        d_log_prior[k] = total
