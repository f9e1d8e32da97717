# mypy: ignore-errors
# Numba's decorators have no types.
r"""Element assignment on a CPU: four passes over the activations, two forward, two backward, with the algebra in them.

In the clusters' own units, :math:`z = (x - μ)\, r`, :math:`r = (σ^2 + ε)^{-1/2}`, a responsibility is
:math:`τ_k = \mathrm{softmax}_k(\log λ_k + \log r_k - z_k^2/2)`: a cheap function of x, computed in every pass and
stored in none. Relative to the first cluster's weight, K clusters need K − 1 exponentials. From the sums
:math:`S_j = \sum τ z^j`, with :math:`i = 1/S_0`,

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

Shapes: x, g, y ``(N, S C)``, channels ``last`` or positions; ``mixture``, μ less the shift, σ² and f γ,
``(3, K, C)``; ``sums`` ``(3, K, C)`` in double precision. ``each`` is a tuple of K zeros, whose length a compiler
knows.
"""

import functools
import math

import numpy as np

from uan_da.norms.uan.kernels.compiler import array, compiled, part
from uan_da.norms.uan.kernels.mixture_cpu import (
    GAIN,
    LOG_PRIOR,
    MEAN,
    VAR,
    differentiate,
    exchange,
    mixture_of,
    moved,
    priors_of,
    state_at,
    update,
    vector_at,
)
from uan_da.norms.uan.kernels.parallel import on_threads, take
from uan_da.norms.uan.kernels.vectors import LIMIT, padded, sweep
from uan_da.norms.uan.mixture import MIN_MASS

START, RSTD, BIAS, SLOPE, OFFSET, MASS, FIRST, SECOND = range(8)
"""After the shift, rows of K each: −μ r, r, log_2(λ r) less that of the first cluster, α, δ, ∂S_0, ∂S_1, ∂S_2."""
LOG2_E = 1 / math.log(2)


def _of(row, name, k, clusters):
    return row(1 + name * clusters + k)


def _clusters(x, row, clusters):
    """Lists of τ_k and z_k.

    Weights are relative to the first cluster's, 1, but where another's is above 2^LIMIT, that is 2^LIMIT."""
    x = x - row(0)
    z = [x * _of(row, RSTD, k, clusters) + _of(row, START, k, clusters) for k in range(clusters)]
    square = z[0] * z[0]
    logits = [(square - z[k] * z[k]) * (LOG2_E / 2) + _of(row, BIAS, k, clusters) for k in range(1, clusters)]
    if clusters == 2:
        logits = [logits[0].minimum(LIMIT)]
    elif clusters > 2:
        best = logits[0]
        for logit in logits[1:]:
            best = logit.maximum(best)
        excess = (best - LIMIT).maximum(0.0)
        logits = [logit - excess for logit in logits]
    weights = [logit.maximum(-LIMIT).exp2() for logit in logits]
    first = sum(weights, start=x.splat(1.0)).reciprocal()
    return [first, *(weight * first for weight in weights)], z


def _sum(x, g, row, clusters):
    """Σ τ, Σ τz, Σ τz²."""
    tau, z = _clusters(x, row, clusters)
    first = [t * v for t, v in zip(tau, z, strict=True)]
    return None, [*tau, *first, *(f * v for f, v in zip(first, z, strict=True))]


def _mix(x, g, row, clusters):
    """y."""
    tau, z = _clusters(x, row, clusters)
    parts = [z[k] * _of(row, SLOPE, k, clusters) + _of(row, OFFSET, k, clusters) for k in range(clusters)]
    return _average(tau, parts), []


def _sum_gradients(x, g, row, clusters):
    """∂α and ∂δ."""
    tau, z = _clusters(x, row, clusters)
    weights = [g * t for t in tau]
    return None, [*(w * v for w, v in zip(weights, z, strict=True)), *weights]


def _differentiate(x, g, row, clusters):
    """∂x; Σ ∂z, Σ ∂z z, Σ ∂b."""
    tau, z = _clusters(x, row, clusters)
    u, straight = [], []
    for k in range(clusters):
        slope, offset, mass, first, second = (_of(row, r, k, clusters) for r in (SLOPE, OFFSET, MASS, FIRST, SECOND))
        inner = z[k] * second + first
        u.append(g * (z[k] * slope + offset) + (inner * z[k] + mass))
        straight.append(g * slope + (z[k] * second + inner))
    if clusters == 2:
        d_first = tau[0] * tau[1] * (u[0] - u[1])
        d_bias = [d_first, d_first * -1.0]
    else:
        average = _average(tau, u)
        d_bias = [t * (v - average) for t, v in zip(tau, u, strict=True)]
    d_z = [tau[k] * straight[k] - z[k] * d_bias[k] for k in range(clusters)]
    d_x = _average([_of(row, RSTD, k, clusters) for k in range(clusters)], d_z)
    return d_x, [*d_z, *(d * v for d, v in zip(d_z, z, strict=True)), *d_bias]


def _average(weights, values):
    total = weights[0] * values[0]
    for weight, value in zip(weights[1:], values[1:], strict=True):
        total = weight * value + total
    return total


def _over_samples(kernel, backwards):
    """``run(x, g, y, last, rows, each, threads, sums)``: ``kernel`` over all values, with ``rows`` padded; the sums
    are ``(Q, K, C)``. A second pass goes ``backwards``: the last samples are in the caches yet."""

    one = sweep(kernel)

    @part
    def on_one(counter, x, g, y, last, channels, rows, each, out):
        positions = x.shape[1] // channels
        taken = take(counter)
        while taken < len(x):
            n = len(x) - 1 - taken if backwards else taken
            one(each, x[n], g[n], y[n], last, channels, positions, rows, out[n])
            taken = take(counter)

    start = on_threads(on_one)

    @part
    def run(x, g, y, last, rows, each, threads, sums):
        count, clusters, channels = sums.shape
        counter, out = np.zeros(1, np.int64), np.zeros((len(x), count * clusters, rows.shape[1]))
        start((counter, x, g, y, last, channels, rows, each, out), threads)
        for q in range(count):
            for k in range(clusters):
                for c in range(channels):
                    sums[q, k, c] = 0
        for n in range(len(x)):
            for q in range(count):
                for k in range(clusters):
                    for c in range(channels):
                        sums[q, k, c] += out[n, q * clusters + k, c]

    return run


@part
def _rows(shift, mixture, prior, bias, eps, sums, values, rows, trace):
    """Fill the rows of :data:`MEAN` to :data:`OFFSET`; and i, z_1, z_2, r² and √q, in double precision."""
    _, clusters, channels = mixture.shape
    for c in range(channels):
        rows[0, c] = shift[c]
    for k in range(clusters):
        for c in range(channels):
            precision = 1 / (np.float64(mixture[VAR, k, c]) + eps)
            starved = sums[0, k, c] < MIN_MASS * values
            inverse = 0.0 if starved else 1 / sums[0, k, c]
            first, second = sums[1, k, c] * inverse, sums[2, k, c] * inverse
            root = 1.0 if starved else math.sqrt(max(second - first * first, 0.0) + eps * precision)
            ratio = (np.float64(mixture[VAR, 0, c]) + eps) * precision
            slope = mixture[GAIN, k, c] / root
            of = 1 + k
            rows[of + START * clusters, c] = -mixture[MEAN, k, c] * math.sqrt(precision)
            rows[of + RSTD * clusters, c] = math.sqrt(precision)
            rows[of + BIAS * clusters, c] = LOG2_E * (prior[LOG_PRIOR, k] - prior[LOG_PRIOR, 0] + 0.5 * math.log(ratio))
            rows[of + SLOPE * clusters, c] = slope
            rows[of + OFFSET * clusters, c] = bias[c] - slope * first
            trace[0, k, c], trace[1, k, c], trace[2, k, c] = inverse, first, second
            trace[3, k, c], trace[4, k, c] = precision, root


_sum_all, _mix_all = _over_samples(_sum, False), _over_samples(_mix, True)
_sum_gradients_all, _differentiate_all = _over_samples(_sum_gradients, False), _over_samples(_differentiate, True)


@functools.cache
def kernels(dtype, last, clusters):
    """Forward and backward for activations of a type and layout, and K clusters."""
    each = (dtype(0),) * clusters

    @compiled
    def forward(
        x, weight, bias, before, after, y, new, kept, samples, channels, positions, clusters, mass_columns, takes_step,
        threads, eps: float, balance: float, _: float, momentum: float, em_rate: float,
    ):  # fmt: skip
        """Fill y, the new state, also in place, and the sums."""
        shape, values, none = (samples, channels * positions), samples * positions, np.empty((0, 0, channels))
        images, output = array(x, shape, dtype), array(y, shape, dtype)
        gamma, beta = vector_at(weight, channels, 1.0, dtype), vector_at(bias, channels, 0.0, dtype)
        state, priors = np.empty((7, clusters, channels), dtype), np.empty((2, clusters), dtype)
        new_state, new_priors = state_at(new, clusters, channels, dtype)
        exchange(array(before, 10, np.int64), mass_columns, state, priors, True)
        moved(state, priors, takes_step, new_state, new_priors)
        prior = priors_of(new_priors, balance)
        shift, mixture = mixture_of(new_state, prior, gamma)
        rows, trace = np.zeros((1 + 8 * clusters, padded(channels, images)), dtype), np.empty((5, clusters, channels))
        moments, mass = np.empty((2, clusters, channels)), np.empty((clusters, channels))
        sums = array(kept, (3, clusters, channels), np.float64)
        for k in range(clusters):
            for c in range(channels):
                sums[0, k, c] = sums[1, k, c] = sums[2, k, c] = 0
        _rows(shift, mixture, prior, beta, eps, sums, values, rows, trace)
        _sum_all(images, images, output, last, rows, each, threads, sums)
        _rows(shift, mixture, prior, beta, eps, sums, values, rows, trace)
        _mix_all(images, images, output, last, rows, each, threads, none)
        for k in range(clusters):
            for c in range(channels):
                inverse, first, second, precision = trace[0, k, c], trace[1, k, c], trace[2, k, c], trace[3, k, c]
                moments[0, k, c] = mixture[MEAN, k, c] + first / math.sqrt(precision)
                spread = max(second - first * first, 0.0) / precision
                moments[1, k, c] = spread if inverse > 0 else mixture[VAR, k, c]
                mass[k, c] = sums[0, k, c] / values
        update(state, prior, shift, mixture, moments, mass, values, momentum, em_rate, new_state, new_priors)
        exchange(array(after, 10, np.int64), mass_columns, new_state, new_priors, False)

    @compiled
    def backward(
        g, x, weight, new, kept, d_x, d_mean, d_log_var, d_logits, d_weight, d_bias, samples, channels, positions,
        clusters, threads, eps: float, balance: float, _: float,
    ):  # fmt: skip
        """Fill the gradients of x, μ and log σ², λ's logits, γ and β."""
        shape, of_cluster = (samples, channels * positions), (clusters, channels)
        images, gradient, d_images = array(x, shape, dtype), array(g, shape, dtype), array(d_x, shape, dtype)
        state, priors = state_at(new, clusters, channels, dtype)
        prior = priors_of(priors, balance)
        shift, mixture = mixture_of(state, prior, vector_at(weight, channels, 1.0, dtype))
        rows, trace = np.zeros((1 + 8 * clusters, padded(channels, images)), dtype), np.empty((5, clusters, channels))
        of_map, found = np.empty((2, clusters, channels)), np.empty((3, clusters, channels))
        d_mixture, d_root, d_log_prior = np.empty((3, clusters, channels)), np.empty(of_cluster), np.zeros(clusters)
        sums, d_beta = array(kept, (3, clusters, channels), np.float64), array(d_bias, channels, dtype)
        for c in range(channels):
            d_beta[c] = 0
        _rows(shift, mixture, prior, d_beta, eps, sums, samples * positions, rows, trace)  # β cancels out
        _sum_gradients_all(images, gradient, d_images, last, rows, each, threads, of_map)
        for k in range(clusters):
            for c in range(channels):
                inverse, first, second, root = trace[0, k, c], trace[1, k, c], trace[2, k, c], trace[4, k, c]
                slope, d_offset = mixture[GAIN, k, c] / root, of_map[1, k, c]
                d_slope = of_map[0, k, c] - first * d_offset
                d_root[k, c] = -0.5 * d_slope * slope / (root * root) if inverse > 0 else 0.0
                d_first = -inverse * (slope * d_offset + 2 * first * d_root[k, c])
                d_second = inverse * d_root[k, c]
                d_mixture[GAIN, k, c] = d_slope / root
                d_beta[c] += d_offset
                rows[1 + k + MASS * clusters, c] = -(first * d_first + second * d_second)
                rows[1 + k + FIRST * clusters, c] = d_first
                rows[1 + k + SECOND * clusters, c] = d_second
        _differentiate_all(images, gradient, d_images, last, rows, each, threads, found)
        for k in range(clusters):
            for c in range(channels):
                precision = trace[3, k, c]
                d_mixture[MEAN, k, c] = -math.sqrt(precision) * found[0, k, c]
                of_var = found[1, k, c] + found[2, k, c] + 2 * eps * precision * d_root[k, c]
                d_mixture[VAR, k, c] = -0.5 * precision * of_var
                d_log_prior[k] += found[2, k, c]
        of_clusters = array(d_mean, of_cluster, dtype), array(d_log_var, of_cluster, dtype)
        of_priors, d_gamma = array(d_logits, clusters, dtype), array(d_weight, channels, dtype)
        differentiate(prior, mixture, balance, d_mixture, d_log_prior, *of_clusters, of_priors, d_gamma)

    return forward, backward
