# mypy: ignore-errors
# Numba's decorators have no types.
r"""Sample assignment on a CPU: four passes over the activations, two forward, two backward, and the algebra between.

A sample and channel is mapped by :math:`y = A (x - s) + B`, where s is the channel's shift and A, B follow from the
moments m, v of all samples and channels. With :math:`r = 1/(σ^2 + ε)`, :math:`D = m - μ`, :math:`P = v + D^2` and
:math:`h = -T/2C`,

.. math:: e &= e' + h \sum_c (P r - \log r), \quad τ = \mathrm{softmax}_k(\log λ_k + e), \quad p = τ / \sum_n τ \\
   a &= \sum_n p\, m, \quad E = m - a, \quad b = \sum_n p\, (v + E^2) \\
   q &= f γ / \sqrt{b + ε}, \quad A = \sum_k τ q, \quad B = β - \sum_k τ a q

where e' is the evidence that other layers gave, and T = 0 where the layer's own does not count. A starved cluster has
p = 0, and (μ, σ²) in place of (a, b). Backward, with :math:`∂A = \sum_s g (x - s)` and
:math:`∂B = \sum_s g`,

.. math:: ∂q &= \sum_n τ (∂A - a\, ∂B), \quad ∂a = -q \sum_n τ\, ∂B, \quad ∂b = -\tfrac12 ∂q\, q / (b + ε) \\
   ∂τ &= \sum_c (q\, ∂A - a q\, ∂B) + (\sum_n τ)^{-1} \sum_c (E\, ∂a + (v + E^2 - b)\, ∂b) \\
   ∂\ell &= τ (∂τ - \sum_j τ_j ∂τ_j), \quad ∂\log λ = \sum_n ∂\ell, \quad ∂e' = ∂\ell + ∂e \\
   ∂v &= \sum_k (p\, ∂b + h\, ∂e'\, r), \quad ∂m = \sum_k (p (∂a + 2 E\, ∂b) + 2 h\, ∂e'\, r D) \\
   ∂μ &= -2 h r \sum_n ∂e'\, D, \quad ∂σ^2 = h r \sum_n ∂e'\, (1 - P r) \\
   ∂x &= A g + \tfrac{2}{S} ∂v\, (x - s - m) + \tfrac{1}{S} ∂m

Shapes: x, g, y ``(N, S C)``, channels ``last`` or positions; ``stats``, m and v, ``(2, N, C)``;
``tau`` and ``evidence``, e, ``(N, K)``; ``mixture``, μ less the shift, σ² and f γ, ``(3, K, C)``; ``moments``, a and
b, ``(2, K, C)``.
"""

import math

import numpy as np

from uan_da.norms.uan.kernels.compiler import array, part
from uan_da.norms.uan.kernels.mixture_cpu import GAIN, LOG_PRIOR, MEAN, VAR, numbers_at
from uan_da.norms.uan.kernels.parallel import on_threads, take
from uan_da.norms.uan.kernels.vectors import padded, sweep
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


_sum_mean, _sum_squares, _map = sweep(_mean), sweep(_squares, 4), sweep(_affine, 4)
_sum_products, _map_gradient = sweep(_products, 4), sweep(_bilinear, 4)
EACH = (0,)
"""A sample's sums are of no cluster."""


@part
def _assign(counter, x, last, shift, mixture, prior, eps, sharpness, stats, tau, evidence):
    """m, v, e and τ of each sample; e' is in the memory of e."""
    _, clusters, channels = mixture.shape
    zero, h = tau.dtype.type(0), tau.dtype.type(-0.5 * sharpness / channels)
    r, base = np.empty((clusters, channels), x.dtype), np.empty(clusters)
    for k in range(clusters):
        total = 0.0
        for c in range(channels):
            r[k, c] = 1 / (mixture[VAR, k, c] + eps)
            total += math.log(mixture[VAR, k, c] + eps)
        base[k] = -0.5 * sharpness / channels * total
    rows, sums = np.zeros((1, padded(channels, x)), x.dtype), np.zeros((2, padded(channels, x)))
    n = take(counter)
    while n < len(x):
        _sample_moments(x[n], last, shift, rows, sums, stats, n)
        best = -np.inf
        for k in range(clusters):
            total = zero
            for c in range(channels):
                d = stats[0, n, c] - mixture[MEAN, k, c]
                total += (stats[1, n, c] + d * d) * r[k, c]
            if sharpness > 0:
                evidence[n, k] += base[k] + h * total
            tau[n, k] = prior[LOG_PRIOR, k] + evidence[n, k]
            best = max(best, tau[n, k])
        total = 0.0
        for k in range(clusters):
            tau[n, k] = math.exp(tau[n, k] - best)
            total += tau[n, k]
        for k in range(clusters):
            tau[n, k] /= total
        n = take(counter)


@part
def _sample_moments(x, last, shift, rows, sums, stats, n):
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
        stats[0, n, c] = (rows[0, c] - shift[c]) + m
        stats[1, n, c] = max(sums[1, c] / positions - m * m, 0)


@part
def _stats(counter, x, last, shift, stats):
    """m and v of each sample."""
    rows, sums = np.zeros((1, padded(len(shift), x)), x.dtype), np.zeros((2, padded(len(shift), x)))
    n = take(counter)
    while n < len(x):
        _sample_moments(x[n], last, shift, rows, sums, stats, n)
        n = take(counter)


@part
def _moments(stats, tau, mixture, moments, mass):
    """a, b and Στ, from the samples' moments."""
    samples, clusters = tau.shape
    channels = stats.shape[2]
    for k in range(clusters):
        total = 0.0
        for n in range(samples):
            total += tau[n, k]
        mass[k] = total
        starved = not total >= MIN_MASS * samples
        for c in range(channels):
            moments[0, k, c] = mixture[MEAN, k, c] if starved else 0
            moments[1, k, c] = mixture[VAR, k, c] if starved else 0
        if starved:
            continue
        for n in range(samples):
            p = stats.dtype.type(tau[n, k] / total)
            for c in range(channels):
                moments[0, k, c] += p * stats[0, n, c]
        for n in range(samples):
            p = stats.dtype.type(tau[n, k] / total)
            for c in range(channels):
                e = stats[0, n, c] - moments[0, k, c]
                moments[1, k, c] += p * (stats[1, n, c] + e * e)


@part
def _scale(moments, mixture, eps):
    """q."""
    _, clusters, channels = moments.shape
    scale = np.empty((clusters, channels), moments.dtype)
    for k in range(clusters):
        for c in range(channels):
            scale[k, c] = mixture[GAIN, k, c] / math.sqrt(moments[1, k, c] + eps)
    return scale


@part
def _apply(counter, x, last, shift, tau, moments, scale, bias, y):
    """y of each sample; the last ones, which are in the caches yet, come first."""
    clusters, channels = scale.shape
    none, rows = np.empty((0, 0)), np.zeros((3, padded(channels, x)), x.dtype)
    for c in range(channels):
        rows[0, c] = shift[c]
    n = len(x) - 1 - take(counter)
    while n >= 0:
        for c in range(channels):
            rows[1, c], rows[2, c] = 0, bias[c]
        for k in range(clusters):
            for c in range(channels):
                slope = tau[n, k] * scale[k, c]
                rows[1, c] += slope
                rows[2, c] -= slope * moments[0, k, c]
        _map(EACH, x[n], x[n], y[n], last, channels, x.shape[1] // channels, rows, none)
        n = len(x) - 1 - take(counter)


@part
def _gradient_sums(counter, g, x, last, shift, sums):
    """∂A and ∂B."""
    channels = len(shift)
    rows, found = np.zeros((1, padded(channels, x)), x.dtype), np.zeros((2, padded(channels, x)))
    for c in range(channels):
        rows[0, c] = shift[c]
    n = take(counter)
    while n < len(x):
        found[:] = 0
        _sum_products(EACH, x[n], g[n], x[n], last, channels, x.shape[1] // channels, rows, found)
        for c in range(channels):
            sums[0, n, c] = found[0, c]
            sums[1, n, c] = found[1, c]
        n = take(counter)


@part
def _of_moments(sums, tau, moments, mixture, scale, eps, d_moments, d_gain, d_bias):
    """∂a and ∂b; and the gradients of f γ and β."""
    samples, clusters = tau.shape
    channels = sums.shape[2]
    for c in range(channels):
        d_bias[c] = 0
    for k in range(clusters):
        for c in range(channels):
            d_moments[0, k, c] = d_moments[1, k, c] = 0
    for n in range(samples):
        for c in range(channels):
            d_bias[c] += sums[1, n, c]
        for k in range(clusters):
            for c in range(channels):
                d_moments[0, k, c] += tau[n, k] * sums[1, n, c]
                d_moments[1, k, c] += tau[n, k] * sums[0, n, c]
    for k in range(clusters):
        for c in range(channels):
            over_offset, variance = d_moments[0, k, c], moments[1, k, c] + eps
            d_scale = d_moments[1, k, c] - moments[0, k, c] * over_offset
            d_gain[k, c] = d_scale / math.sqrt(variance)
            d_moments[0, k, c] = -scale[k, c] * over_offset
            d_moments[1, k, c] = -0.5 * d_scale * scale[k, c] / variance


@part
def _gradient(
    counter, g, of_evidence, x, last, shift, stats, tau, mixture, moments, inverse, scale, d_moments, sums, d_logits,
    eps, sharpness, d_x, d_given
):  # fmt: skip
    """∂ℓ and ∂e', and the gradient of x, of each sample, from the last one on."""
    clusters, channels = scale.shape
    positions, none = x.shape[1] // channels, np.empty((0, 0))
    zero, h = tau.dtype.type(0), tau.dtype.type(-0.5 * sharpness / channels)
    two, rest = tau.dtype.type(2 / positions), tau.dtype.type(1 / positions)
    rows, r = np.zeros((4, padded(channels, x)), x.dtype), np.empty((clusters, channels), x.dtype)
    for c in range(channels):
        rows[0, c] = shift[c]
    for k in range(clusters):
        for c in range(channels):
            r[k, c] = 1 / (mixture[VAR, k, c] + eps)
    n = len(x) - 1 - take(counter)
    while n >= 0:
        average = zero
        for k in range(clusters):
            straight = through = zero
            for c in range(channels):
                e = stats[0, n, c] - moments[0, k, c]
                straight += scale[k, c] * (sums[0, n, c] - moments[0, k, c] * sums[1, n, c])
                through += e * d_moments[0, k, c] + (stats[1, n, c] + e * e - moments[1, k, c]) * d_moments[1, k, c]
            d_logits[n, k] = straight + inverse[k] * through
            average += tau[n, k] * d_logits[n, k]
        for c in range(channels):
            rows[1, c] = rows[2, c] = rows[3, c] = zero
        for k in range(clusters):
            d_logits[n, k] = tau[n, k] * (d_logits[n, k] - average)
            d_given[n, k] = d_logits[n, k] + of_evidence[n, k]
            t, p, q = tau[n, k], tau[n, k] * inverse[k], h * d_given[n, k]
            for c in range(channels):
                by_moments, by_tau = p * d_moments[1, k, c], q * r[k, c]
                about = by_moments * (stats[0, n, c] - moments[0, k, c])
                about += by_tau * (stats[0, n, c] - mixture[MEAN, k, c])
                rows[1, c] += t * scale[k, c]
                rows[2, c] += by_moments + by_tau
                rows[3, c] += p * d_moments[0, k, c] + about + about
        for c in range(channels):
            rows[2, c] *= two
            rows[3, c] = rows[3, c] * rest - rows[2, c] * stats[0, n, c]
        _map_gradient(EACH, x[n], g[n], d_x[n], last, channels, positions, rows, none)
        n = len(x) - 1 - take(counter)


@part
def _of_mixture(stats, mixture, d_logits, d_given, mass, d_moments, eps, sharpness, d_mixture, d_log_prior):
    """∂μ, ∂σ² and ∂log λ: through τ, and of a starved cluster as moments."""
    samples, clusters = d_logits.shape
    channels = stats.shape[2]
    h = -0.5 * sharpness / channels
    for k in range(clusters):
        total = d_log_prior[k] = 0.0
        for c in range(channels):
            d_mixture[MEAN, k, c] = d_mixture[VAR, k, c] = 0
        for n in range(samples):
            d_log_prior[k] += d_logits[n, k]
            total += d_given[n, k]
            for c in range(channels):
                d = stats[0, n, c] - mixture[MEAN, k, c]
                d_mixture[MEAN, k, c] += d_given[n, k] * d
                d_mixture[VAR, k, c] += d_given[n, k] * (stats[1, n, c] + d * d)
        starved = not mass[k] >= MIN_MASS * samples
        for c in range(channels):
            r = 1 / (mixture[VAR, k, c] + eps)
            d_mixture[MEAN, k, c] *= -2 * h * r
            d_mixture[VAR, k, c] = h * r * (total - d_mixture[VAR, k, c] * r)
            if starved:
                d_mixture[MEAN, k, c] += d_moments[0, k, c]
                d_mixture[VAR, k, c] += d_moments[1, k, c]


_assign_all, _apply_all = on_threads(_assign), on_threads(_apply)
_stats_of_all = on_threads(_stats)
_sum_gradients, _gradient_all = on_threads(_gradient_sums), on_threads(_gradient)


@part
def _kept_at(address, samples, channels, clusters, dtype):
    """m and v, τ, a and b, and Στ."""
    stats = array(address, (2, samples, channels), dtype)
    tau = array(address + stats.nbytes, (samples, clusters), dtype)
    moments = array(address + stats.nbytes + tau.nbytes, (2, clusters, channels), dtype)
    return stats, tau, moments, array(address + stats.nbytes + tau.nbytes + moments.nbytes, clusters, dtype)


@part
def moments(x, last, shift, threads, stats):
    """Fill m and v alone."""
    _stats_of_all((np.zeros(1, np.int64), x, last, shift, stats), threads)


@part
def forward(each, x, last, shift, mixture, prior, bias, given, eps, sharpness, threads, kept, evidence, y):
    """Fill y, what is kept, and e; returns the clusters' moments, and the mean of τ of each channel."""
    samples, (_, clusters, channels) = len(x), mixture.shape
    stats, tau, moments, mass = _kept_at(kept, samples, channels, clusters, x.dtype)
    counter, shares = np.zeros(1, np.int64), np.empty((clusters, channels), x.dtype)
    found = array(evidence, (samples, clusters), x.dtype)
    found[:] = numbers_at(given, samples * clusters, 0.0, x.dtype).reshape(samples, clusters)
    _assign_all((counter, x, last, shift, mixture, prior, eps, sharpness, stats, tau, found), threads)
    _moments(stats, tau, mixture, moments, mass)
    counter[0] = 0
    scale = _scale(moments, mixture, eps)
    _apply_all((counter, x, last, shift, tau, moments, scale, bias, y), threads)
    for k in range(clusters):
        for c in range(channels):
            shares[k, c] = mass[k] / samples
    return moments, shares


@part
def backward(
    each, g, of_evidence, x, last, shift, mixture, prior, eps, sharpness, threads, kept, d_x, d_mixture, d_log_prior,
    d_bias, d_given,
):  # fmt: skip
    """Fill the gradients of x, μ, σ² and f γ, log λ, β and e'."""
    samples, (_, clusters, channels) = len(x), mixture.shape
    stats, tau, moments, mass = _kept_at(kept, samples, channels, clusters, x.dtype)
    sums, d_moments = np.empty((2, samples, channels), x.dtype), np.empty((2, clusters, channels), x.dtype)
    d_logits, inverse = np.empty((samples, clusters), x.dtype), np.empty(clusters, x.dtype)
    counter, scale = np.zeros(1, np.int64), _scale(moments, mixture, eps)
    _sum_gradients((counter, g, x, last, shift, sums), threads)
    for k in range(clusters):
        inverse[k] = 1 / mass[k] if mass[k] >= MIN_MASS * samples else 0
    _of_moments(sums, tau, moments, mixture, scale, eps, d_moments, d_mixture[GAIN], d_bias)
    counter[0] = 0
    of_e = numbers_at(of_evidence, samples * clusters, 0.0, x.dtype).reshape(samples, clusters)
    d_e = array(d_given, (samples, clusters), x.dtype)
    operands = counter, g, of_e, x, last, shift, stats, tau, mixture, moments, inverse, scale, d_moments
    _gradient_all((*operands, sums, d_logits, eps, sharpness, d_x, d_e), threads)
    _of_mixture(stats, mixture, d_logits, d_e, mass, d_moments, eps, sharpness, d_mixture, d_log_prior)
