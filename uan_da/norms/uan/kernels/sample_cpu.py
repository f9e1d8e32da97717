# mypy: ignore-errors
# Numba's decorators have no types.
r"""Sample assignment on a CPU: four passes over the activations, two forward, two backward, with the algebra in them.

A sample and channel is mapped by :math:`y = A (x - s) + B`, where s is the channel's shift and A, B follow from the
moments m, v of all samples and channels. With :math:`r = 1/(σ^2 + ε)`, :math:`D = m - μ`, :math:`P = v + D^2` and
:math:`h = -T/2C`,

.. math:: τ &= \mathrm{softmax}_k(\log λ_k + h \sum_c (P r - \log r)), \quad p = τ / \sum_n τ \\
   a &= \sum_n p\, m, \quad E = m - a, \quad b = \sum_n p\, (v + E^2) \\
   q &= f γ / \sqrt{b + ε}, \quad A = \sum_k τ q, \quad B = β - \sum_k τ a q

A starved cluster has p = 0, and (μ, σ²) in place of (a, b). Backward, with :math:`∂A = \sum_s g (x - s)` and
:math:`∂B = \sum_s g`,

.. math:: ∂q &= \sum_n τ (∂A - a\, ∂B), \quad ∂a = -q \sum_n τ\, ∂B, \quad ∂b = -\tfrac12 ∂q\, q / (b + ε) \\
   ∂τ &= \sum_c (q\, ∂A - a q\, ∂B) + (\sum_n τ)^{-1} \sum_c (E\, ∂a + (v + E^2 - b)\, ∂b) \\
   ∂\ell &= τ (∂τ - \sum_j τ_j ∂τ_j), \quad ∂\log λ = \sum_n ∂\ell \\
   ∂v &= \sum_k (p\, ∂b + h\, ∂\ell\, r), \quad ∂m = \sum_k (p (∂a + 2 E\, ∂b) + 2 h\, ∂\ell\, r D) \\
   ∂μ &= -2 h r \sum_n ∂\ell\, D, \quad ∂σ^2 = h r \sum_n ∂\ell\, (1 - P r) \\
   ∂x &= A g + \tfrac{2}{S} ∂v\, (x - s - m) + \tfrac{1}{S} ∂m

Shapes: x, g, y ``(N, S C)``, channels ``last`` or positions; ``stats``, m and v, ``(2, N, C)``;
``tau`` ``(N, K)``; ``clusters``, μ less the shift and σ², and ``moments``, a and b, ``(2, K, C)``; ``gain``, f γ,
``(K, C)``.
"""

import math

import numpy as np

from uan_da.norms.uan.kernels.parallel import on_threads, take
from uan_da.norms.uan.kernels.vectors import compiled, padded, part, sweep
from uan_da.norms.uan.mixture import MIN_MASS

PROBES = 16
"""Positions whose mean is the origin of a sample's sums: no digits are lost, whatever the offset."""


def _mean(x, g, row, clusters):
    """Σ (x − origin)."""
    return None, [x - row(0)]


def _squares(x, g, row, clusters):
    """Σ (x − origin), Σ (x − origin)²."""
    x = x - row(0)
    return None, [x, x * x]


def _affine(x, g, row, clusters):
    """y."""
    return (x - row(0)) * row(1) + row(2), []


def _products(x, g, row, clusters):
    """∂A and ∂B."""
    return None, [g * (x - row(0)), g]


def _bilinear(x, g, row, clusters):
    """∂x."""
    return g * row(1) + ((x - row(0)) * row(2) + row(3)), []


_sum_mean, _sum_squares, _map = sweep(_mean), sweep(_squares), sweep(_affine)
_sum_products, _map_gradient = sweep(_products), sweep(_bilinear)
EACH = (0,)
"""A sample's sums are of no cluster."""


@compiled
def first_sum(x):
    """Σ x of one channel ``(S,)``."""
    rows, sums = np.zeros((1, padded(1, x)), x.dtype), np.zeros((1, padded(1, x)))
    _sum_mean(EACH, x, x, x, False, 1, len(x), rows, sums)
    return sums[0, 0]


@part
def _assign(counter, x, last, shift, clusters, log_prior, eps, sharpness, stats, tau):
    """m, v and τ of each sample."""
    mu, clusters_k, channels = clusters[0], len(log_prior), len(shift)
    h = tau.dtype.type(-0.5 * sharpness / channels)
    r, base = np.empty_like(mu), np.empty_like(log_prior)
    for k in range(clusters_k):
        total = 0.0
        for c in range(channels):
            r[k, c] = 1 / (clusters[1, k, c] + eps)
            total += math.log(clusters[1, k, c] + eps)
        base[k] = log_prior[k] - 0.5 * sharpness / channels * total
    rows, sums = np.zeros((1, padded(channels, x)), x.dtype), np.zeros((2, padded(channels, x)))
    n = take(counter)
    while n < len(x):
        mean, var = stats[0, n], stats[1, n]
        _sample_moments(x[n], last, shift, rows, sums, mean, var)
        for k in range(clusters_k):
            total = tau.dtype.type(0)
            for c in range(channels):
                d = mean[c] - mu[k, c]
                total += (var[c] + d * d) * r[k, c]
            tau[n, k] = base[k] + h * total
        _softmax(tau[n])
        n = take(counter)


@part
def _softmax(row):
    best, total = row.max(), 0.0
    for k in range(len(row)):
        row[k] = math.exp(row[k] - best)
        total += row[k]
    for k in range(len(row)):
        row[k] /= total


@part
def _sample_moments(x, last, shift, rows, sums, mean, var):
    """m and v of a sample; ``rows`` ``(1, C)`` and ``sums`` ``(2, C)``, padded, are overwritten."""
    channels = len(shift)
    positions = len(x) // channels
    probes = min(PROBES, positions)
    for c in range(channels):
        rows[0, c] = shift[c]
    sums[:] = 0
    _sum_mean(EACH, x, x, x, last, channels, probes, rows, sums)
    for c in range(channels):
        rows[0, c] = shift[c] + sums[0, c] / probes
    sums[:] = 0
    _sum_squares(EACH, x, x, x, last, channels, positions, rows, sums)
    for c in range(channels):
        m = sums[0, c] / positions
        var[c] = max(sums[1, c] / positions - m * m, 0)
        mean[c] = (rows[0, c] - shift[c]) + m


@part
def _stats(counter, x, last, shift, stats):
    """m and v of each sample."""
    rows, sums = np.zeros((1, padded(len(shift), x)), x.dtype), np.zeros((2, padded(len(shift), x)))
    n = take(counter)
    while n < len(x):
        _sample_moments(x[n], last, shift, rows, sums, stats[0, n], stats[1, n])
        n = take(counter)


@part
def _moments(stats, tau, clusters, moments, mass):
    """a, b and Στ, from the samples' moments."""
    samples, clusters_k = tau.shape
    channels = stats.shape[2]
    for k in range(clusters_k):
        total = 0.0
        for n in range(samples):
            total += tau[n, k]
        mass[k] = total
        if not total >= MIN_MASS * samples:
            moments[:, k] = clusters[:, k]
            continue
        a, b = moments[0, k], moments[1, k]
        a[:] = 0
        b[:] = 0
        for n in range(samples):
            p = stats.dtype.type(tau[n, k] / total)
            for c in range(channels):
                a[c] += p * stats[0, n, c]
        for n in range(samples):
            p = stats.dtype.type(tau[n, k] / total)
            for c in range(channels):
                e = stats[0, n, c] - a[c]
                b[c] += p * (stats[1, n, c] + e * e)


@part
def _scale(moments, gain, eps):
    """q."""
    scale = np.empty_like(gain)
    for k in range(gain.shape[0]):
        for c in range(gain.shape[1]):
            scale[k, c] = gain[k, c] / math.sqrt(moments[1, k, c] + eps)
    return scale


@part
def _slope(tau, scale, slope):
    slope[:] = 0
    for k in range(len(tau)):
        for c in range(len(slope)):
            slope[c] += tau[k] * scale[k, c]


@part
def _apply(counter, x, last, shift, tau, mean, scale, bias, y):
    """y of each sample."""
    channels, none = len(shift), np.empty((0, 0))
    rows = np.zeros((3, padded(channels, x)), x.dtype)
    slope, offset = rows[1, :channels], rows[2, :channels]
    rows[0, :channels] = shift
    n = take(counter)
    while n < len(x):
        _slope(tau[n], scale, slope)
        offset[:] = bias
        for k in range(len(scale)):
            for c in range(channels):
                offset[c] -= tau[n, k] * mean[k, c] * scale[k, c]
        _map(EACH, x[n], x[n], y[n], last, channels, x.shape[1] // channels, rows, none)
        n = take(counter)


@part
def _gradient_sums(counter, g, x, last, shift, sums):
    """∂A and ∂B."""
    channels = len(shift)
    rows, found = np.zeros((1, padded(channels, x)), x.dtype), np.zeros((2, padded(channels, x)))
    rows[0, :channels] = shift
    n = take(counter)
    while n < len(x):
        found[:] = 0
        _sum_products(EACH, x[n], g[n], x[n], last, channels, x.shape[1] // channels, rows, found)
        for c in range(channels):
            sums[0, n, c] = found[0, c]
            sums[1, n, c] = found[1, c]
        n = take(counter)


@part
def _of_moments(sums, tau, moments, gain, scale, eps, d_gain, d_bias):
    """∂a and ∂b; and the gradients of f γ and β."""
    samples, clusters_k = tau.shape
    channels = sums.shape[2]
    d_moments = np.zeros_like(moments)
    d_bias[:] = 0
    for n in range(samples):
        for c in range(channels):
            d_bias[c] += sums[1, n, c]
        for k in range(clusters_k):
            for c in range(channels):
                d_moments[0, k, c] += tau[n, k] * sums[1, n, c]
                d_moments[1, k, c] += tau[n, k] * sums[0, n, c]
    for k in range(clusters_k):
        for c in range(channels):
            over_offset, variance = d_moments[0, k, c], moments[1, k, c] + eps
            d_scale = d_moments[1, k, c] - moments[0, k, c] * over_offset
            d_gain[k, c] = d_scale / math.sqrt(variance)
            d_moments[0, k, c] = -scale[k, c] * over_offset
            d_moments[1, k, c] = -0.5 * d_scale * scale[k, c] / variance
    return d_moments


@part
def _gradient(
    counter, g, x, last, shift, stats, tau, clusters, moments, inverse, scale, d_moments, sums, d_logits,
    eps, sharpness, d_x
):  # fmt: skip
    """∂ℓ, and the gradient of x, of each sample."""
    channels, clusters_k = len(shift), len(scale)
    positions, none = x.shape[1] // channels, np.empty((0, 0))
    h = tau.dtype.type(-0.5 * sharpness / channels)
    rows = np.zeros((4, padded(channels, x)), x.dtype)
    slope, spread, offset = rows[1, :channels], rows[2, :channels], rows[3, :channels]
    rows[0, :channels] = shift
    r = (1 / (clusters[1] + eps)).astype(shift.dtype)
    n = take(counter)
    while n < len(x):
        mean, var, logits = stats[0, n], stats[1, n], d_logits[n]
        average = tau.dtype.type(0)
        for k in range(clusters_k):
            straight = through = tau.dtype.type(0)
            for c in range(channels):
                e = mean[c] - moments[0, k, c]
                straight += scale[k, c] * (sums[0, n, c] - moments[0, k, c] * sums[1, n, c])
                through += e * d_moments[0, k, c] + (var[c] + e * e - moments[1, k, c]) * d_moments[1, k, c]
            logits[k] = straight + inverse[k] * through
            average += tau[n, k] * logits[k]
        spread[:] = 0
        offset[:] = 0
        for k in range(clusters_k):
            logits[k] = tau[n, k] * (logits[k] - average)
            p, q = tau[n, k] * inverse[k], h * logits[k]
            for c in range(channels):
                d_var = p * d_moments[1, k, c] + q * r[k, c]
                about = p * d_moments[1, k, c] * (mean[c] - moments[0, k, c])
                about += q * r[k, c] * (mean[c] - clusters[0, k, c])
                spread[c] += d_var
                offset[c] += p * d_moments[0, k, c] + about + about
        _slope(tau[n], scale, slope)
        for c in range(channels):
            spread[c] *= 2 / positions
            offset[c] = offset[c] / positions - spread[c] * mean[c]
        _map_gradient(EACH, x[n], g[n], d_x[n], last, channels, positions, rows, none)
        n = take(counter)


@part
def _of_clusters(stats, clusters, d_logits, eps, sharpness, d_clusters, d_log_prior):
    """∂μ, ∂σ² and ∂log λ through τ."""
    samples, clusters_k = d_logits.shape
    channels = stats.shape[2]
    d_clusters[:] = 0
    for k in range(clusters_k):
        total = 0.0
        for n in range(samples):
            total += d_logits[n, k]
            for c in range(channels):
                d = stats[0, n, c] - clusters[0, k, c]
                d_clusters[0, k, c] += d_logits[n, k] * d
                d_clusters[1, k, c] += d_logits[n, k] * (stats[1, n, c] + d * d)
        d_log_prior[k] = total
        for c in range(channels):
            r, h = 1 / (clusters[1, k, c] + eps), -0.5 * sharpness / channels
            d_clusters[0, k, c] *= -2 * h * r
            d_clusters[1, k, c] = h * r * (total - d_clusters[1, k, c] * r)


_assign_all, _apply_all = on_threads(_assign), on_threads(_apply)
_stats_of_all = on_threads(_stats)
_sum_gradients, _gradient_all = on_threads(_gradient_sums), on_threads(_gradient)


@compiled
def moments(x, last, shift, threads, stats):
    """Fill m and v alone."""
    _stats_of_all((np.zeros(1, np.int64), x, last, shift, stats), threads)


@compiled
def forward(x, last, shift, clusters, log_prior, gain, bias, eps, sharpness, threads, y, stats, tau, moments, mass):
    """Fill y, m and v, τ, a and b, and Στ; ``gain``, f γ, is ``(K, C)``."""
    counter = np.zeros(1, np.int64)
    _assign_all((counter, x, last, shift, clusters, log_prior, eps, sharpness, stats, tau), threads)
    _moments(stats, tau, clusters, moments, mass)
    counter[0] = 0
    scale = _scale(moments, gain, eps)
    _apply_all((counter, x, last, shift, tau, moments[0], scale, bias, y), threads)


@compiled
def backward(
    g, x, last, shift, stats, tau, clusters, moments, mass, gain, eps, sharpness, threads,
    d_x, d_clusters, d_log_prior, d_gain, d_bias
):  # fmt: skip
    """Fill the gradients of x, μ and σ², log λ, f γ and β."""
    samples, clusters_k = tau.shape
    channels = len(shift)
    sums, d_logits = np.empty_like(stats), np.empty_like(tau)
    counter = np.zeros(1, np.int64)
    _sum_gradients((counter, g, x, last, shift, sums), threads)
    inverse = np.where(mass >= MIN_MASS * samples, 1 / mass, 0).astype(mass.dtype)
    scale = _scale(moments, gain, eps)
    d_moments = _of_moments(sums, tau, moments, gain, scale, eps, d_gain, d_bias)
    counter[0] = 0
    operands = (counter, g, x, last, shift, stats, tau, clusters, moments, inverse, scale, d_moments, sums, d_logits)
    _gradient_all((*operands, eps, sharpness, d_x), threads)
    _of_clusters(stats, clusters, d_logits, eps, sharpness, d_clusters, d_log_prior)
    for k in range(clusters_k):
        if inverse[k] == 0:
            for c in range(channels):
                d_clusters[0, k, c] += d_moments[0, k, c]
                d_clusters[1, k, c] += d_moments[1, k, c]
