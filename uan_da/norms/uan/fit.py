"""Clusters and moments of a converted network, fitted to images: no label, no gradient, and no batch statistics.

A layer is fitted to what it sees behind the layers that are fitted already, from the first to the last. All that a
fit needs of an image is the mean and variance of its channels, so that EM runs over the whole data set at once.
"""

from collections.abc import Callable, Iterable

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.norms.uan.clusters import MIN_VAR, PRIOR_FLOOR
from uan_da.norms.uan.layer import UAN
from uan_da.norms.uan.mixture import Mixture, sample_evidence, sample_statistics

Batches = Callable[[], Iterable[Tensor]]
"""The images, ``(N, C, H, W)`` a batch; each call gives them in the same order."""

STEPS = 50
"""EM steps of a layer at most; it ends where no responsibility moves by more than ``SETTLED``."""
SETTLED = 1e-3
CHUNK = 1024
"""Samples whose likelihoods are worked out at once."""


class _SeenEnough(Exception):
    """The layer that is fitted has seen the batch: the rest of the forward is not needed."""


@torch.no_grad()
def fit_mixture(model: nn.Module, layers: list[UAN], batches: Batches, pseudo_count: float, seed: int) -> Tensor:
    """Fit ``layers``, which assign together, to images; ``model`` runs in evaluation mode.

    The clusters start from k-means on what the first layer sees. EM then goes on over the layers that give evidence;
    the others take the moments of the clusters that were found. A cluster's moments are shrunk toward those of all
    images, as if it had seen ``pseudo_count`` more images that are like all.

    Args:
        model: the network that ``layers`` are part of.
        layers: UAN layers of sample assignment, in the order in which they run, joined by ``depth``.
        batches: the images; called once a layer.
        pseudo_count: 0 means no shrinkage.
        seed: of k-means.

    Returns:
        τ of every image, ``(N, K)``, on the CPU.
    """
    model.eval()
    evidence: Tensor | None = None
    tau = torch.empty(0)
    for number, layer in enumerate(layers):
        mean_nc, var_nc = _statistics(model, layer, batches)
        if number == 0:
            tau = _start(mean_nc, var_nc, layer.num_clusters, seed)
        if number < layer.options.depth:
            tau, evidence = _em(tau, evidence, mean_nc, var_nc, layer)
        _set_clusters(layer, tau, mean_nc, var_nc)
        _set_running(layer, tau, mean_nc, var_nc, pseudo_count)
    return tau


def _statistics(model: nn.Module, layer: UAN, batches: Batches) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(N, C)`` of every image's channels in front of ``layer``, in float64 on the CPU."""
    seen: list[tuple[Tensor, Tensor]] = []

    def look(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(tuple(value.double().cpu() for value in sample_statistics(inputs[0].float())))  # type: ignore[arg-type]
        raise _SeenEnough

    watch = layer.register_forward_pre_hook(look)
    try:
        for images in batches():
            try:
                model(images)
            except _SeenEnough:
                continue
    finally:
        watch.remove()
    means, variances = zip(*seen, strict=True)
    return torch.cat(means), torch.cat(variances)


def _start(mean_nc: Tensor, var_nc: Tensor, clusters: int, seed: int) -> Tensor:
    """Hard assignments ``(N, K)`` by k-means on the means and log variances of the channels, each standardised."""
    style = torch.cat([mean_nc, (var_nc + MIN_VAR).log()], 1).numpy() if var_nc.any() else mean_nc.numpy()
    style = StandardScaler().fit_transform(style)
    clusters_there = min(clusters, len(np.unique(style, axis=0)))
    found = KMeans(clusters_there, n_init=4, random_state=seed).fit_predict(style)
    return F.one_hot(torch.from_numpy(found).long(), clusters).double()


def _em(tau: Tensor, before: Tensor | None, mean_nc: Tensor, var_nc: Tensor, layer: UAN) -> tuple[Tensor, Tensor]:
    """τ where EM settles, and the evidence behind it, both ``(N, K)``; ``before`` is that of the layers before."""
    evidence = tau.new_zeros(tau.shape)
    for _ in range(STEPS):
        mixture = _mixture(tau, mean_nc, var_nc)
        evidence = torch.cat(
            [
                sample_evidence(mean, var, mixture, layer.eps)
                for mean, var in zip(torch.split(mean_nc, CHUNK), torch.split(var_nc, CHUNK), strict=True)
            ]
        )
        evidence = layer.options.sharpness * evidence + (0.0 if before is None else before)
        old, tau = tau, F.softmax(mixture.log_prior + evidence, dim=1)
        if float((tau - old).abs().max()) < SETTLED:
            break
    return tau, evidence


def _mixture(tau: Tensor, mean_nc: Tensor, var_nc: Tensor) -> Mixture:
    mean_kc, var_kc = _moments(tau, mean_nc, var_nc, 0.0)
    return Mixture(mean_kc, var_kc.clamp_min(MIN_VAR), _prior(tau).log())


def _prior(tau: Tensor) -> Tensor:
    """λ, with the floor that the layer gives it."""
    return PRIOR_FLOOR / tau.shape[1] + (1 - PRIOR_FLOOR) * tau.mean(0)


def _moments(tau: Tensor, mean_nc: Tensor, var_nc: Tensor, pseudo_count: float) -> tuple[Tensor, Tensor]:
    """Mean and biased variance ``(K, C)`` of each cluster, and of ``pseudo_count`` images that are like all."""
    centre = mean_nc.mean(0)
    mean_nc = mean_nc - centre
    second_nc = var_nc + mean_nc.square()
    count = pseudo_count or 1e-9  # a cluster without an image has the moments of all
    sum_k1 = tau.sum(0)[:, None] + count
    mean_kc = tau.T @ mean_nc / sum_k1  # the mean of all is 0
    second_kc = (tau.T @ second_nc + count * second_nc.mean(0)) / sum_k1
    return mean_kc + centre, (second_kc - mean_kc.square()).clamp_min(0.0)


def _set_clusters(layer: UAN, tau: Tensor, mean_nc: Tensor, var_nc: Tensor) -> None:
    mixture = _mixture(tau, mean_nc, var_nc)
    layer.mean.copy_(mixture.mean)
    layer.log_var.copy_(mixture.var.log())
    layer.prior_logits.copy_(tau.mean(0).clamp_min(PRIOR_FLOOR / tau.shape[1]).log())
    layer.initialized.fill_(True)


def _set_running(layer: UAN, tau: Tensor, mean_nc: Tensor, var_nc: Tensor, pseudo_count: float) -> None:
    running = layer.running
    assert running is not None
    mean_kc, var_kc = _moments(tau, mean_nc, var_nc, pseudo_count)
    running.mean.copy_(mean_kc)
    running.var.copy_(var_kc)
    running.mass.fill_(1.0)
    running.batches.fill_(1)
