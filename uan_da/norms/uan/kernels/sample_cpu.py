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

from uan_da.norms.uan.kernels.compiler import part
from uan_da.norms.uan.kernels.memory import array, zeros
from uan_da.norms.uan.kernels.mixture_cpu import GAIN, LOG_PRIOR, MEAN, VAR, numbers_at
from uan_da.norms.uan.kernels.parallel import on_threads, take
from uan_da.norms.uan.kernels.sweep import padded, pieces, sweep
from uan_da.norms.uan.mixture import MIN_MASS

PROBES = 4
"""Positions whose mean is the origin of a sample's sums: no digits are lost, whatever the offset."""
EACH = (0,)
"""A sample's sums are of no cluster."""


def _squares(x, g, y, row, clusters):
    """Σ (x − origin), Σ (x − origin)²."""
    x = x - row(0)
    return None, [x, x * x]


def _affine(x, g, y, row, clusters):
    """y."""
    return (x - row(0)) * row(1) + row(2), []


def _products(x, g, y, row, clusters):
    """∂A and ∂B."""
    return None, [g * (x - row(0)), g]


def _bilinear(x, g, y, row, clusters):
    """∂x."""
    return g * row(1) + ((x - row(0)) * row(2) + row(3)), []


WIDTHS = (1, 2, 4)
"""Vectors that a step may take."""
_sum_squares = sweep(_squares, WIDTHS)


@part
def _stats(counters, x, last, cut, shift, stats):
    """m and v of each sample."""
    channels = len(shift)
    positions = x.shape[1] // channels
    probes = min(PROBES, positions)
    rows, sums = zeros((1, padded(channels, x)), x.dtype), zeros((2, padded(channels, x)), np.float64)
    n = take(counters, len(x), False)
    while n >= 0:
        rows[:], sums[:] = 0, 0
        for i in range(probes):
            s = i * positions // probes
            for c in range(channels):
                rows[0, c] += x[n, c * positions + s] if last is None else x[n, s * channels + c]
        for c in range(channels):
            rows[0, c] /= probes
        _sum_squares(EACH, x, x, x, last, n, channels, rows, sums, cut)
        for c in range(channels):
            m = sums[0, c] / positions
            stats[0, n, c] = (rows[0, c] - shift[c]) + m
            stats[1, n, c] = max(sums[1, c] / positions - m * m, 0.0)
        n = take(counters, len(x), False)


def _over_samples(kernel, backwards):
    """``run(operands, threads)``: ``kernel`` over each sample, whose rows of coefficients, after the shift, are sums of
    ``terms`` ``(R, W, C)`` with the sample's ``weights`` ``(N, W)``. Its sums are ``(Q, N, C)``; a second pass, which
    goes ``backwards``, has none."""
    one = sweep(kernel, WIDTHS)

    @part
    def on_samples(counters, x, g, y, last, cut, shift, weights, terms, sums):
        channels = len(shift)
        width = padded(channels, x)
        rows, found = zeros((1 + len(terms), width), x.dtype), zeros((len(sums), width), np.float64)
        for c in range(channels):
            rows[0, c] = shift[c]
        n = take(counters, len(x), backwards)
        while n >= 0:
            for r in range(len(terms)):
                _combine(weights[n], terms[r], rows[1 + r])
            found[:] = 0
            one(EACH, x, g, y, last, n, channels, rows, found, cut)
            for q in range(len(sums)):
                for c in range(channels):
                    sums[q, n, c] = found[q, c]
            n = take(counters, len(x), backwards)

    return on_threads(on_samples)


_stats_of_all, _sum_gradients = on_threads(_stats), _over_samples(_products, False)
_apply, _gradient = _over_samples(_affine, True), _over_samples(_bilinear, True)


@part
def _combine(weights, matrix, row):
    """The sum of the rows of ``matrix`` with ``weights``; loops over channels that touch few arrays become vectors."""
    _, channels = matrix.shape
    row[:] = 0
    for i in range(len(weights)):
        for c in range(channels):
            row[c] += weights[i] * matrix[i, c]


@part
def _assign(stats, mixture, prior, given, eps, sharpness, evidence, tau):
    """e and τ of each sample."""
    _, clusters, channels = mixture.shape
    zero, h = tau.dtype.type(0), tau.dtype.type(-0.5 * sharpness / channels)
    r, base = zeros((clusters, channels), tau.dtype), zeros(clusters, np.float64)
    for k in range(clusters):
        for c in range(channels):
            r[k, c] = 1 / (mixture[VAR, k, c] + eps)
            base[k] -= 0.5 * sharpness / channels * math.log(mixture[VAR, k, c] + eps)
    for n in range(len(tau)):
        best, mass = -np.inf, 0.0
        for k in range(clusters):
            total = zero
            for c in range(channels):
                d = stats[0, n, c] - mixture[MEAN, k, c]
                total += (stats[1, n, c] + d * d) * r[k, c]
            evidence[n, k] = given[n * clusters + k]
            if sharpness > 0:
                evidence[n, k] += base[k] + h * total
            tau[n, k] = prior[LOG_PRIOR, k] + evidence[n, k]
            best = max(best, np.float64(tau[n, k]))
        for k in range(clusters):
            tau[n, k] = math.exp(tau[n, k] - best)
            mass += tau[n, k]
        for k in range(clusters):
            tau[n, k] /= mass


@part
def _moments(stats, tau, mixture, moments, mass):
    """a, b and Στ, from the samples' moments."""
    samples, clusters = tau.shape
    channels, p = stats.shape[2], zeros(samples, tau.dtype)
    for k in range(clusters):
        total = 0.0
        for n in range(samples):
            total += tau[n, k]
        mass[k] = total
        if total < MIN_MASS * samples:
            for c in range(channels):
                moments[0, k, c], moments[1, k, c] = mixture[MEAN, k, c], mixture[VAR, k, c]
            continue
        for n in range(samples):
            p[n] = tau[n, k] / total
        _combine(p, stats[0], moments[0, k])
        for c in range(channels):
            moments[1, k, c] = 0
        for n in range(samples):
            for c in range(channels):
                e = stats[0, n, c] - moments[0, k, c]
                moments[1, k, c] += p[n] * (stats[1, n, c] + e * e)


@part
def _maps(moments, mixture, bias, eps):
    """q and β − a q, whose sums with the weights τ are A and B, ``(2, K, C)``."""
    _, clusters, channels = moments.shape
    maps = zeros((2, clusters, channels), moments.dtype)
    for k in range(clusters):
        for c in range(channels):
            maps[0, k, c] = mixture[GAIN, k, c] / math.sqrt(moments[1, k, c] + eps)
            maps[1, k, c] = bias[c] - moments[0, k, c] * maps[0, k, c]
    return maps


@part
def _of_moments(sums, tau, moments, maps, eps, d_moments, d_gain, d_bias):
    """∂a and ∂b; and the gradients of f γ and β."""
    samples, clusters = tau.shape
    weights = zeros(samples, tau.dtype)
    d_bias[:] = 0
    for k in range(clusters):
        for n in range(samples):
            weights[n] = tau[n, k]
        for i in range(2):
            _combine(weights, sums[1 - i], d_moments[i, k])
        for c in range(len(d_bias)):
            over_offset, variance = d_moments[0, k, c], moments[1, k, c] + eps
            d_bias[c] += over_offset  # Στ = 1
            d_scale = d_moments[1, k, c] - moments[0, k, c] * over_offset
            d_gain[k, c] = d_scale / math.sqrt(variance)
            d_moments[0, k, c] = -maps[0, k, c] * over_offset
            d_moments[1, k, c] = -0.5 * d_scale * maps[0, k, c] / variance


@part
def _of_logits(stats, sums, tau, maps, moments, d_moments, inverse, d_logits):
    """∂ℓ of each sample."""
    _, clusters, channels = moments.shape
    zero = tau.dtype.type(0)
    for n in range(len(tau)):
        average = zero
        for k in range(clusters):
            straight = through = zero
            for c in range(channels):
                e = stats[0, n, c] - moments[0, k, c]
                straight += maps[0, k, c] * (sums[0, n, c] - moments[0, k, c] * sums[1, n, c])
                through += e * d_moments[0, k, c] + (stats[1, n, c] + e * e - moments[1, k, c]) * d_moments[1, k, c]
            d_logits[n, k] = straight + inverse[k] * through
            average += tau[n, k] * d_logits[n, k]
        for k in range(clusters):
            d_logits[n, k] = tau[n, k] * (d_logits[n, k] - average)


@part
def _of_x(mixture, moments, maps, d_moments, inverse, eps, sharpness, positions):
    """The terms of ∂x, whose weights are τ and ∂e', ``(3, 2 K, C)``; m itself cancels out of their sum."""
    _, clusters, channels = moments.shape
    terms, h = zeros((3, 2 * clusters, channels), moments.dtype), -0.5 * sharpness / channels
    for k in range(clusters):
        for c in range(channels):
            through_b = 2 * inverse[k] * d_moments[1, k, c] / positions
            through_e = 2 * h / (mixture[VAR, k, c] + eps) / positions
            terms[0, k, c] = maps[0, k, c]
            terms[1, k, c], terms[1, clusters + k, c] = through_b, through_e
            terms[2, k, c] = inverse[k] * d_moments[0, k, c] / positions - through_b * moments[0, k, c]
            terms[2, clusters + k, c] = -through_e * mixture[MEAN, k, c]
    return terms


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
        starved = mass[k] < MIN_MASS * samples
        for c in range(channels):
            r = 1 / (mixture[VAR, k, c] + eps)
            d_mixture[MEAN, k, c] *= -2 * h * r
            d_mixture[VAR, k, c] = h * r * (total - d_mixture[VAR, k, c] * r)
            if starved:
                d_mixture[MEAN, k, c] += d_moments[0, k, c]
                d_mixture[VAR, k, c] += d_moments[1, k, c]


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
    cut = pieces(x, len(shift), last, WIDTHS[-1])
    _stats_of_all((zeros(threads, np.int64), x, last, cut, shift, stats), threads)


@part
def forward(each, x, last, shift, mixture, prior, bias, given, eps, sharpness, threads, kept, evidence, y):
    """Fill y, what is kept, and e; returns the clusters' moments, and the mean of τ of each channel."""
    samples, (_, clusters, channels) = len(x), mixture.shape
    stats, tau, moments, mass = _kept_at(kept, samples, channels, clusters, x.dtype)
    shares, cut = zeros((clusters, channels), x.dtype), pieces(x, channels, last, WIDTHS[-1])
    _stats_of_all((zeros(threads, np.int64), x, last, cut, shift, stats), threads)
    found = array(evidence, (samples, clusters), x.dtype)
    others = numbers_at(given, samples * clusters, 0.0, x.dtype)
    _assign(stats, mixture, prior, others, eps, sharpness, found, tau)
    _moments(stats, tau, mixture, moments, mass)
    maps = _maps(moments, mixture, bias, eps)
    none = zeros((0, samples, channels), x.dtype)
    _apply((zeros(threads, np.int64), x, x, y, last, cut, shift, tau, maps, none), threads)
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
    sums, d_moments = zeros((2, samples, channels), x.dtype), zeros((2, clusters, channels), x.dtype)
    d_logits, inverse = zeros((samples, clusters), x.dtype), zeros(clusters, x.dtype)
    cut = pieces(x, channels, last, WIDTHS[-1])
    maps = _maps(moments, mixture, d_bias, eps)  # of which β has no part in a gradient
    none = zeros((0, samples, channels), x.dtype)
    _sum_gradients((zeros(threads, np.int64), x, g, d_x, last, cut, shift, tau, none, sums), threads)
    for k in range(clusters):
        inverse[k] = 0 if mass[k] < MIN_MASS * samples else 1 / mass[k]
    _of_moments(sums, tau, moments, maps, eps, d_moments, d_mixture[GAIN], d_bias)
    _of_logits(stats, sums, tau, maps, moments, d_moments, inverse, d_logits)
    of_e = numbers_at(of_evidence, samples * clusters, 0.0, x.dtype)
    d_e, weights = array(d_given, (samples, clusters), x.dtype), zeros((samples, 2 * clusters), x.dtype)
    for n in range(samples):
        for k in range(clusters):
            d_e[n, k] = d_logits[n, k] + of_e[n * clusters + k]
            weights[n, k], weights[n, clusters + k] = tau[n, k], d_e[n, k]
    terms = _of_x(mixture, moments, maps, d_moments, inverse, eps, sharpness, x.shape[1] // channels)
    _gradient((zeros(threads, np.int64), x, g, d_x, last, cut, shift, weights, terms, none), threads)
    _of_mixture(stats, mixture, d_logits, d_e, mass, d_moments, eps, sharpness, d_mixture, d_log_prior)
