# mypy: ignore-errors
# Numba's decorators have no types.
"""A training step on a CPU, of either assignment: what the operators call, at addresses of tensors.

The state is read from a layer's tensors and moved; an assignment does its passes; the state after it is written back.
"""

import functools

import numpy as np

from uan_da.norms.uan.kernels import element_cpu, sample_cpu
from uan_da.norms.uan.kernels.compiler import compiled
from uan_da.norms.uan.kernels.memory import array, zeros
from uan_da.norms.uan.kernels.mixture_cpu import (
    differentiate,
    exchange,
    mixture_of,
    moved,
    numbers_at,
    priors_of,
    update,
)


@functools.cache
def moments(number, last):
    """The kernel that fills m and v of samples alone, for activations of a type and layout."""

    @compiled(number.__name__, last)
    def run(x, shift, stats, samples, channels, positions, threads):
        images, centre = array(x, (samples, channels * positions), number), array(shift, channels, number)
        sample_cpu.moments(images, last, centre, threads, array(stats, (2, samples, channels), number))

    return run


@functools.cache
def kernels(number, last, assignment, clusters):
    """Forward and backward for activations of a type and layout, and K clusters of elements; those of samples take
    any number of clusters, and count as of one."""
    passes = {"sample": sample_cpu, "element": element_cpu}[assignment]
    run_forward, run_backward = passes.forward, passes.backward
    each, key = (0,) * clusters, (number.__name__, last, assignment, clusters)

    @compiled(*key)
    def forward(
        addresses, samples, channels, positions, clusters, threads, frozen, sets,
        eps: float, balance: float, sharpness: float, momentum: float, em_rate: float,
    ):  # fmt: skip
        """Fill y, the new state, which the layer is also ``sets`` to, what is kept, and the evidence; ``addresses`` are
        in the order of :func:`uan_da.norms.uan.kernels.cpu.train`."""
        at, shape, of_state = array(addresses, 18, np.int64), (samples, channels * positions), (9, clusters, channels)
        weight, bias, given, x, y, new, kept, evidence = at[10], at[11], at[12], at[13], at[14], at[15], at[16], at[17]
        gamma, beta = numbers_at(weight, channels, 1.0, number), numbers_at(bias, channels, 0.0, number)
        state, new_state = zeros(of_state, number), array(new, of_state, number)
        mass_columns = 1 if assignment == "sample" else channels
        exchange(at, frozen, mass_columns, state, True)
        moved(state, new_state)
        prior = priors_of(new_state, balance)
        shift, mixture = mixture_of(new_state, prior, gamma)
        images, output = array(x, shape, number), array(y, shape, number)
        moments, shares = run_forward(
            each, images, last, shift, mixture, prior, beta, given, eps, sharpness, threads, kept, evidence, output
        )
        values = samples * positions
        update(state, prior, shift, mixture, moments, shares, values, momentum, em_rate, new_state)
        if sets:
            exchange(at, frozen, mass_columns, new_state, False)

    @compiled(*key)
    def backward(
        addresses, samples, channels, positions, clusters, threads, eps: float, balance: float, sharpness: float
    ):
        """Fill the gradients of x, μ and log σ², λ's logits, γ, β and the evidence given; ``addresses`` are in the
        order of :func:`uan_da.norms.uan.kernels.cpu.train_gradient`."""
        at, shape, of_cluster = array(addresses, 13, np.int64), (samples, channels * positions), (clusters, channels)
        g, of_evidence, x, weight, new, kept, d_x, d_given = at[0], at[1], at[2], at[3], at[4], at[5], at[6], at[12]
        state = array(new, (9, clusters, channels), number)
        prior = priors_of(state, balance)
        shift, mixture = mixture_of(state, prior, numbers_at(weight, channels, 1.0, number))
        d_mixture, d_log_prior = zeros((3, clusters, channels), number), zeros(clusters, np.float64)
        gradient, images, d_images = array(g, shape, number), array(x, shape, number), array(d_x, shape, number)
        d_beta = array(at[11], channels, number)
        run_backward(
            each, gradient, of_evidence, images, last, shift, mixture, prior, eps, sharpness, threads, kept,
            d_images, d_mixture, d_log_prior, d_beta, d_given,
        )  # fmt: skip
        of_clusters = array(at[7], of_cluster, number), array(at[8], of_cluster, number)
        of_priors, d_gamma = array(at[9], clusters, number), array(at[10], channels, number)
        differentiate(prior, mixture, balance, d_mixture, d_log_prior, *of_clusters, of_priors, d_gamma)

    return forward, backward
