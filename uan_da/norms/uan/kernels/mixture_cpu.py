# mypy: ignore-errors
# Numba's decorators have no types.
"""The algebra of a layer's parameters and state on a CPU, for both assignments.

A layer's ``state`` is ``(9, K, C)``, in the order of :data:`MEAN` to :data:`RUNNING_MASS`, which is that of a layer's
tensors; what has no channels has the same value in all of them, or in the first. The formulas are
those of :mod:`uan_da.norms.uan.clusters` and :mod:`uan_da.norms.running`.
"""

import math

import numpy as np

from uan_da.norms.uan.clusters import MIN_VAR, PRIOR_FLOOR
from uan_da.norms.uan.kernels.compiler import part
from uan_da.norms.uan.kernels.memory import array, zeros
from uan_da.norms.uan.mixture import MIN_MASS

MEAN, LOG_VAR, LOGITS, STEP_MEAN, STEP_VAR, STEP_PRIOR, RUNNING_MEAN, RUNNING_VAR, RUNNING_MASS, COUNT = range(10)
VAR, GAIN = 1, 2
"""After :data:`MEAN`, the rows of :func:`mixture_of`."""
SHARE, LOG_PRIOR, FACTOR = range(3)


@part
def numbers_at(address, count, value, dtype):
    """``count`` numbers in memory, or at the address 0 so many times ``value``."""
    numbers, given = zeros(count, dtype), array(address, count, dtype)
    for i in range(count):
        numbers[i] = value if address == 0 else given[i]
    return numbers


@part
def exchange(addresses, frozen, mass_columns, state, reads):
    """Gather a layer's state from its tensors, or set them; those at the address 0 are left out, and of clusters that
    are ``frozen``, a bit each, the step that is read, and the parameter that is set.

    ``addresses`` are of clusters, EM's step, running moments and their mass, which has one column where all channels
    share it, and the count of batches."""
    rows, clusters, channels = state.shape
    left_out = frozen << 3 if reads else frozen
    for row in range(rows):
        columns = mass_columns if row == RUNNING_MASS else 1 if row in (LOGITS, STEP_PRIOR) else channels
        if addresses[row] == 0 or left_out >> row & 1:
            continue
        other = array(addresses[row], (clusters, columns), state.dtype)
        for k in range(clusters):
            for c in range(channels):
                if reads:
                    state[row, k, c] = other[k, min(c, columns - 1)]
                elif c < columns:
                    other[k, c] = state[row, k, c]
    if not reads and addresses[COUNT] != 0:
        array(addresses[COUNT], 1, np.int64)[0] += 1


@part
def moved(state, new):
    """Fill the clusters of ``new``: after the last batch's step of EM."""
    _, clusters, channels = state.shape
    for k in range(clusters):
        for c in range(channels):
            new[MEAN, k, c] = state[MEAN, k, c] + state[STEP_MEAN, k, c]
            new[LOG_VAR, k, c] = state[LOG_VAR, k, c]
            if state[STEP_VAR, k, c] != 0:
                var = np.float64(math.exp(state[LOG_VAR, k, c])) + state[STEP_VAR, k, c]
                new[LOG_VAR, k, c] = math.log(max(var, MIN_VAR))
    some, floor = False, PRIOR_FLOOR / clusters
    for k in range(clusters):
        new[LOGITS, k] = state[LOGITS, k, 0]
        some = some or state[STEP_PRIOR, k, 0] != 0
    if some:
        prior = priors_of(state, 0.0)
        for k in range(clusters):
            share = math.exp(prior[LOG_PRIOR, k]) + state[STEP_PRIOR, k, 0] - floor
            new[LOGITS, k] = math.log(max(share, floor * PRIOR_FLOOR))


@part
def priors_of(state, balance):
    """The softmax of λ's logits, log λ and f, ``(3, K)``, in double precision."""
    clusters = state.shape[1]
    prior = zeros((3, clusters), np.float64)
    best, total = -np.inf, 0.0
    for k in range(clusters):
        best = max(best, np.float64(state[LOGITS, k, 0]))
    for k in range(clusters):
        prior[SHARE, k] = math.exp(np.float64(state[LOGITS, k, 0]) - best)
        total += prior[SHARE, k]
    for k in range(clusters):
        prior[SHARE, k] /= total
        value = PRIOR_FLOOR / clusters + (1 - PRIOR_FLOOR) * prior[SHARE, k]
        prior[LOG_PRIOR, k] = math.log(value)
        prior[FACTOR, k] = 1 / math.sqrt(value * balance) if balance > 0 else 1.0
    return prior


@part
def mixture_of(state, prior, weight):
    """The shift ``(C,)``; and μ less it, σ² and f γ, ``(3, K, C)``."""
    _, clusters, channels = state.shape
    shift, mixture = zeros(channels, state.dtype), zeros((3, clusters, channels), state.dtype)
    for k in range(clusters):
        for c in range(channels):
            shift[c] += state[MEAN, k, c]
    for c in range(channels):
        shift[c] /= clusters
    for k in range(clusters):
        factor = prior[FACTOR, k]
        for c in range(channels):
            mixture[MEAN, k, c] = state[MEAN, k, c] - shift[c]
            mixture[VAR, k, c] = math.exp(state[LOG_VAR, k, c])
            mixture[GAIN, k, c] = factor * weight[c]
    return shift, mixture


@part
def update(state, prior, shift, mixture, moments, mass, values, momentum, em_rate, new):
    """Fill the running moments and the next step of EM in ``new``.

    ``moments``, less the shift, are those of a batch of ``values`` a channel; ``mass`` ``(K, C)`` is the mean of τ. A
    negative momentum is a cumulative average."""
    _, clusters, channels = state.shape
    whole, certain = 0.0, True
    for k in range(clusters):
        average = 0.0
        for c in range(channels):
            mean, var, m = np.float64(moments[0, k, c]), np.float64(moments[1, k, c]), np.float64(mass[k, c])
            average += m / channels
            finite = abs(mean) < np.inf and abs(var) < np.inf
            fed = MIN_MASS <= m < np.inf
            step = min(clusters * m, 1.0) if fed else 0.0
            total = state[RUNNING_MASS, k, c] + step
            rate = momentum * step if momentum >= 0 else step / max(total, MIN_MASS)
            rate = (rate if total > 0 else 1.0) if finite and abs(m) < np.inf else 0.0
            unbiased = var * (m * values / max(m * values - 1, 1.0)) if fed else var
            new[RUNNING_MASS, k, c] = total
            new[RUNNING_MEAN, k, c] = _toward(state[RUNNING_MEAN, k, c], mean + shift[c], rate)
            new[RUNNING_VAR, k, c] = _toward(state[RUNNING_VAR, k, c], unbiased, rate)
            new[STEP_MEAN, k, c] = em_rate * (mean - mixture[MEAN, k, c]) if finite else 0.0
            new[STEP_VAR, k, c] = em_rate * (var - mixture[VAR, k, c]) if finite else 0.0
        new[STEP_PRIOR, k] = em_rate * (average - math.exp(prior[LOG_PRIOR, k]))
        whole += average
        certain = certain and abs(average) < np.inf
    if not (certain and whole > 0):
        for k in range(clusters):
            new[STEP_PRIOR, k] = 0.0


@part
def _toward(old, to, rate):
    return old + rate * (to - old) if rate > 0 else np.float64(old)


@part
def differentiate(prior, mixture, balance, d_mixture, d_log_prior, d_mean, d_log_var, d_logits, d_weight):
    """From the gradients of μ, σ² and f γ, and of log λ, those of μ and log σ², of λ's logits, and of γ."""
    _, clusters, channels = mixture.shape
    average = 0.0
    d_weight[:] = 0
    for k in range(clusters):
        through = 0.0
        for c in range(channels):
            d_mean[k, c] = d_mixture[MEAN, k, c]
            d_log_var[k, c] = d_mixture[VAR, k, c] * mixture[VAR, k, c]
            d_weight[c] += prior[FACTOR, k] * d_mixture[GAIN, k, c]
            through += mixture[GAIN, k, c] * d_mixture[GAIN, k, c]
        if balance > 0:
            d_log_prior[k] -= 0.5 * through
        d_log_prior[k] *= (1 - PRIOR_FLOOR) / math.exp(prior[LOG_PRIOR, k])  # of the share
        average += prior[SHARE, k] * d_log_prior[k]
    for k in range(clusters):
        d_logits[k] = prior[SHARE, k] * (d_log_prior[k] - average)
