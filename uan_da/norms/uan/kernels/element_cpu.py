# mypy: ignore-errors
# Numba's decorators have no types.
r"""Element assignment on a CPU: four passes over the activations, two forward, two backward, and the algebra between.

In units of the clusters, :math:`z = (x - μ)\, r`, :math:`r = (2 \ln 2\, (σ^2 + ε))^{-1/2}`, a responsibility is
:math:`τ_k ∝ w_k = λ_k r_k 2^{-z_k^2}`, a cheap function of x. Relative to the first cluster's weight, K clusters need
K − 1 exponentials. A first pass may leave w_2 where the second pass will write the result, and spares it one. From
the sums :math:`S_j = \sum τ z^j`, with :math:`i = 1/S_0`,

.. math:: z_1 &= S_1 i, \quad z_2 = S_2 i, \quad q = z_2 - z_1^2 + ε r^2 \\
   α &= f γ / \sqrt{q}, \quad δ = β - α z_1 \\
   y &= \sum_k τ_k (α_k z_k + δ_k)

A starved cluster has i = 0 and :math:`q = 1 / 2 \ln 2`, which is (μ, σ²) in place of the moments. Backward, with
:math:`∂α = \sum g τ z` and :math:`∂δ = \sum g τ`,

.. math:: ∂α' &= ∂α - z_1 ∂δ, \quad ∂q = -\tfrac12 ∂α' α / q, \quad ∂(fγ) = ∂α' / \sqrt{q} \\
   ∂S_1 &= -i (α ∂δ + 2 z_1 ∂q), \quad ∂S_2 = i ∂q, \quad ∂S_0 = -(z_1 ∂S_1 + z_2 ∂S_2) \\
   h_k &= g α_k + ∂S_1 + ∂S_2 z_k, \quad u_k = h_k z_k + g δ_k + ∂S_0 \\
   ∂b_k &= 2 \ln 2\, τ_k (u_k - \sum_j τ_j u_j) \\
   ∂x &= \sum_k r_k (τ_k (h_k + ∂S_2 z_k) - z_k ∂b_k), \quad ∂\log λ = \sum_c \sum ∂b / 2 \ln 2 \\
   ∂μ &= r \sum z ∂b, \quad ∂σ^2 = r^2 (\ln 2 \sum z^2 ∂b - \tfrac12 \sum ∂b)

What is missing in the last two cancels out, but for a starved cluster: −r α ∂δ and −ln 2 r² α ∂α.

Shapes: x, g, y ``(N, S C)``, channels ``last`` or positions; ``mixture``, μ less the shift, σ² and f γ,
``(3, K, C)``; ``sums`` ``(3, K, C)`` in double precision, which are kept. ``each`` is a tuple of K zeros, whose length
a compiler knows.
"""

import math
from itertools import accumulate

import numpy as np

from uan_da.norms.uan.kernels.compiler import part
from uan_da.norms.uan.kernels.memory import array, zeros
from uan_da.norms.uan.kernels.mixture_cpu import GAIN, LOG_PRIOR, MEAN, VAR
from uan_da.norms.uan.kernels.parallel import on_threads, take
from uan_da.norms.uan.kernels.sweep import padded, pieces, sweep
from uan_da.norms.uan.kernels.vectors import LIMIT
from uan_da.norms.uan.mixture import MIN_MASS

PARTS = 32
"""Of the samples; each has sums of its own, so that their order does not depend on the threads."""
START, RSTD, BIAS, SLOPE, OFFSET, MASS, FIRST, SECOND = range(8)
"""After the shift, rows of K each: −μ r, r, log_2(λ r) less that of the first cluster, α, δ, ∂S_0, ∂S_1, ∂S_2; for
:func:`_differentiate`, δ and ∂S_0 of all others are less that of the first, too."""
TWO_LN_2 = 2 * math.log(2)
STORES_GRADIENT = 2
"""Clusters for which a backward pass leaves a weight to the second one: with more, to compute it costs less than the
memory that is written and read."""
AT_ONCE = 2
"""Steps that alternate: a step is a long chain of operations, each of which waits for the one before."""
AHEAD = 16
"""Steps before it is read that a backward pass asks for memory: it reads two arrays, in strips that a processor does
not foresee."""


def _of(row, name, k, clusters):
    return row(1 + name * clusters + k)


def _assign(x, row, clusters, known=None):
    """Lists of z_k and w_k, of which the second may be ``known``; and what the latter are to be multiplied with."""
    x = x - row(0)
    z = [x * _of(row, RSTD, k, clusters) + _of(row, START, k, clusters) for k in range(clusters)]
    weights = [x.splat(1.0), *_others(z, known, row)]
    return z, weights, sum(weights[1:], start=weights[0]).reciprocal()


def _others(z, known, row):
    """The weights of all clusters but the first, whose weight is 1; the largest is about 2^LIMIT where it were more."""
    clusters, found = len(z), [] if known is None else [known]
    if clusters <= 1 + len(found):
        return found[: clusters - 1]
    logits = [z[0].times_plus(z[0], _of(row, BIAS, k, clusters)) - z[k] * z[k] for k in range(1, clusters)]
    if clusters == 2:
        return [logits[0].exp2(logits[0].minimum(LIMIT))]
    best = logits[0]
    for logit in logits[1:]:
        best = logit.maximum(best)
    excess = (best.floor() - LIMIT).maximum(0.0)
    return [*found, *(logit.exp2(logit - excess) for logit in logits[len(found) :])]


def _second(weights):
    """What a first pass leaves to the second one, which would have to compute it again."""
    return weights[1] if len(weights) > 1 else None


def _sum(x, g, y, row, clusters):
    """Σ τ, Σ τz, Σ τz²; the division comes last, so that little waits for it."""
    z, weights, inverse = _assign(x, row, clusters)
    first = [w * v for w, v in zip(weights, z, strict=True)]
    second = [f * v for f, v in zip(first, z, strict=True)]
    return _second(weights), [value * inverse for value in (*weights, *first, *second)]


def _mix(x, g, y, row, clusters):
    """y."""
    z, weights, inverse = _assign(x, row, clusters, y)
    parts = [z[k] * _of(row, SLOPE, k, clusters) + _of(row, OFFSET, k, clusters) for k in range(clusters)]
    return _average(weights, parts) * inverse, []


def _sum_gradients(x, g, y, row, clusters):
    """∂α and ∂δ."""
    z, weights, inverse = _assign(x, row, clusters)
    first = [w * v for w, v in zip(weights, z, strict=True)]
    inverse = inverse * g
    second = _second(weights) if clusters == STORES_GRADIENT else None
    return second, [value * inverse for value in (*first, *weights)]


def _differentiate(x, g, y, row, clusters):
    """∂x; Σ z ∂b, Σ z² ∂b, Σ ∂b."""
    z, weights, inverse = _assign(x, row, clusters, y if clusters == STORES_GRADIENT else None)
    tau = [weight * inverse for weight in weights]
    of = [[_of(row, r, k, clusters) for r in (RSTD, SLOPE, OFFSET, MASS, FIRST, SECOND)] for k in range(clusters)]
    h = [v.times_plus(second, g * slope + first) for v, (_, slope, _, _, first, second) in zip(z, of, strict=True)]
    to_z = [v.times_plus(second, part) for v, part, (*_, second) in zip(z, h, of, strict=True)]
    rest = [g * offset + mass for _, _, offset, mass, _, _ in of[1:]]
    u = [(h[k] * z[k] + (rest[k - 1] - h[0] * z[0])) * TWO_LN_2 for k in range(1, clusters)]  # less that of the first
    d_bias = _of_biases(tau, weights, u, inverse)
    through = [v * d for v, d in zip(z, d_bias, strict=True)]
    d_z = [tau[k] * to_z[k] - through[k] for k in range(clusters)]
    d_x = _average([r for r, *_ in of], d_z)
    return d_x, [*through, *(t * v for t, v in zip(through, z, strict=True)), *d_bias]


def _of_biases(tau, weights, u, inverse):
    """τ_k (u_k − Σ_j τ_j u_j), where u_0 = 0, as τ_k Σ_j τ_j (u_k − u_j): no noise is left where a τ is 1 but for
    rounding, however large u is."""
    if len(u) < 2:
        both = [tau[0] * tau[1] * value for value in u]
        return [*(-value for value in both), *both] or [inverse.splat(0.0)]
    parts = [weight * value for weight, value in zip(weights[1:], u, strict=True)]
    others = zip(_without_each(weights)[1:], u, _without_each(parts), strict=True)
    gaps = [-sum(parts[1:], start=parts[0]), *(weight * value - rest for weight, value, rest in others)]
    return [t * (gap * inverse) for t, gap in zip(tau, gaps, strict=True)]


def _without_each(values):
    """For each of the values, which are two or more, the sum of the others."""
    before, after = list(accumulate(values)), list(accumulate(reversed(values)))[::-1]
    return [after[1], *(a + b for a, b in zip(before, after[2:], strict=False)), before[-2]]


def _average(weights, values):
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = weight * value + total
    return total


def _over_samples(kernel, backwards, ahead=0):
    """``run(each, x, g, y, last, rows, threads, sums)``: ``kernel`` over all values, with ``rows`` padded; the sums are
    ``(Q, K, C)``. A second pass goes ``backwards``: the last samples are in the caches yet."""
    one = sweep(kernel, at_once=AT_ONCE, ahead=ahead)

    @part
    def on_parts(counters, each, x, g, y, last, cut, channels, rows, out):
        part = take(counters, len(out), backwards)
        while part >= 0:
            first, end = part * len(x) // len(out), (part + 1) * len(x) // len(out)
            for i in range(end - first):
                n = end - 1 - i if backwards else first + i
                one(each, x, g, y, last, n, channels, rows, out[part], cut)
            part = take(counters, len(out), backwards)

    start = on_threads(on_parts)

    @part
    def run(each, x, g, y, last, rows, threads, sums):
        quantities, clusters, channels = sums.shape
        out = zeros((min(len(x), PARTS), quantities * clusters, rows.shape[1]), np.float64)
        cut = pieces(x, channels, last, 1)
        start((zeros(threads, np.int64), each, x, g, y, last, cut, channels, rows, out), threads)
        sums[:] = 0
        for q in range(quantities):
            for k in range(clusters):
                for i in range(len(out)):
                    for c in range(channels):
                        sums[q, k, c] += out[i, q * clusters + k, c]

    return run


@part
def _rows(shift, mixture, prior, bias, eps, sums, values, rows, trace):
    """Fill the rows of :data:`START` to :data:`OFFSET`; and i, z_1, z_2, r and √q, in double precision."""
    _, clusters, channels = mixture.shape
    for c in range(channels):
        rows[0, c] = shift[c]
    for k in range(clusters):
        for c in range(channels):
            r = 1 / math.sqrt(TWO_LN_2 * (np.float64(mixture[VAR, k, c]) + eps))
            starved = sums[0, k, c] < MIN_MASS * values
            inverse = 0.0 if starved else 1 / sums[0, k, c]
            first, second = sums[1, k, c] * inverse, sums[2, k, c] * inverse
            root = math.sqrt(1 / TWO_LN_2 if starved else max(second - first * first, 0.0) + eps * r * r)
            slope = mixture[GAIN, k, c] / root
            of = 1 + k
            rows[of + START * clusters, c] = -mixture[MEAN, k, c] * r
            rows[of + RSTD * clusters, c] = r
            share = 2 * (prior[LOG_PRIOR, k] - prior[LOG_PRIOR, 0])
            wider = math.log((np.float64(mixture[VAR, 0, c]) + eps) * TWO_LN_2 * r * r)
            rows[of + BIAS * clusters, c] = (share + wider) / TWO_LN_2
            rows[of + SLOPE * clusters, c] = slope
            rows[of + OFFSET * clusters, c] = bias[c] - slope * first
            trace[0, k, c], trace[1, k, c], trace[2, k, c] = inverse, first, second
            trace[3, k, c], trace[4, k, c] = r, root


_sum_all, _mix_all = _over_samples(_sum, False), _over_samples(_mix, True)
_sum_gradients_all = _over_samples(_sum_gradients, False, ahead=AHEAD)
_differentiate_all = _over_samples(_differentiate, True, ahead=AHEAD)


@part
def forward(each, x, last, shift, mixture, prior, bias, given, eps, sharpness, threads, kept, evidence, y):
    """Fill y and the sums; returns the clusters' moments, and the mean of τ of each channel."""
    _, clusters, channels = mixture.shape
    values = x.size // channels
    rows, trace = zeros((1 + 8 * clusters, padded(channels, x)), x.dtype), zeros((5, clusters, channels), np.float64)
    sums = array(kept, (3, clusters, channels), np.float64)
    sums[:] = 0
    _rows(shift, mixture, prior, bias, eps, sums, values, rows, trace)
    _sum_all(each, x, x, y, last, rows, threads, sums)
    _rows(shift, mixture, prior, bias, eps, sums, values, rows, trace)
    _mix_all(each, x, x, y, last, rows, threads, zeros((0, clusters, channels), np.float64))
    moments, shares = zeros((2, clusters, channels), x.dtype), zeros((clusters, channels), x.dtype)
    for k in range(clusters):
        for c in range(channels):
            inverse, first, second, r = trace[0, k, c], trace[1, k, c], trace[2, k, c], trace[3, k, c]
            moments[0, k, c] = mixture[MEAN, k, c] + first / r
            spread = max(second - first * first, 0.0) / (r * r)
            moments[1, k, c] = spread if inverse > 0 else mixture[VAR, k, c]
            shares[k, c] = sums[0, k, c] / values
    return moments, shares


@part
def backward(
    each, g, of_evidence, x, last, shift, mixture, prior, eps, sharpness, threads, kept, d_x, d_mixture, d_log_prior,
    d_bias, d_given,
):  # fmt: skip
    """Fill the gradients of x, μ, σ² and f γ, log λ and β."""
    _, clusters, channels = mixture.shape
    rows, trace = zeros((1 + 8 * clusters, padded(channels, x)), x.dtype), zeros((5, clusters, channels), np.float64)
    of_map, found = zeros((2, clusters, channels), np.float64), zeros((3, clusters, channels), np.float64)
    sums = array(kept, (3, clusters, channels), np.float64)
    d_bias[:] = 0
    _rows(shift, mixture, prior, d_bias, eps, sums, x.size // channels, rows, trace)  # β cancels out
    _sum_gradients_all(each, x, g, d_x, last, rows, threads, of_map)
    for k in range(clusters):
        for c in range(channels):
            inverse, first, second, root = trace[0, k, c], trace[1, k, c], trace[2, k, c], trace[4, k, c]
            slope, d_offset = mixture[GAIN, k, c] / root, of_map[1, k, c]
            d_slope = of_map[0, k, c] - first * d_offset
            d_root = -0.5 * d_slope * slope / (root * root)
            d_first, d_second = -inverse * (slope * d_offset + 2 * first * d_root), inverse * d_root
            d_mass = -(first * d_first + second * d_second)
            d_mixture[GAIN, k, c] = d_slope / root
            d_bias[c] += d_offset
            rows[1 + k + MASS * clusters, c] = d_mass
            rows[1 + k + FIRST * clusters, c] = d_first
            rows[1 + k + SECOND * clusters, c] = d_second
            if k > 0:
                for row in (1 + MASS * clusters, 1 + OFFSET * clusters):
                    rows[row + k, c] -= rows[row, c]
    _differentiate_all(each, x, g, d_x, last, rows, threads, found)
    for k in range(clusters):
        d_log_prior[k] = 0.0
        for c in range(channels):
            r, starved = trace[3, k, c], trace[0, k, c] == 0
            slope = mixture[GAIN, k, c] / trace[4, k, c] if starved else 0.0
            d_log_prior[k] += found[2, k, c] / TWO_LN_2
            d_mixture[MEAN, k, c] = r * (found[0, k, c] - slope * of_map[1, k, c])
            of_var = found[1, k, c] - slope * of_map[0, k, c]
            d_mixture[VAR, k, c] = 0.5 * r * r * (TWO_LN_2 * of_var - found[2, k, c])
