"""Clusters and moments of a converted network, fitted to images: no label, no gradient, and no batch statistics.

All that a fit needs of an image is the mean and variance of its channels. One pass finds the clusters, a second one
their moments in every layer.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, suppress

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.errors import UserError
from uan_da.norms.uan.clusters import MIN_VAR, PRIOR_FLOOR
from uan_da.norms.uan.layer import UAN
from uan_da.norms.uan.mixture import sample_statistics

Batches = Callable[[], Iterable[Tensor]]
"""The images, ``(N, C, H, W)`` a batch; each call gives them in the same order, which says nothing about them."""

PIXELS = 2**22
"""Pixels of the images that go through the network at once, if one batch does not have more."""


class _SeenEnough(Exception):
    """The last layer that is watched has seen the batch: the rest of the forward is not needed."""


class _Sums:
    """What moments are made of: Στ ``(K, 1)``, Στ x and Στ x² ``(K, C)``, where x is less a centre ``(C,)``."""

    def __init__(self, centre: Tensor) -> None:
        self.centre = centre
        self.mass, self.first, self.second = torch.zeros(3, 1, 1, dtype=centre.dtype)

    def add(self, tau: Tensor, mean_nc: Tensor, var_nc: Tensor) -> None:
        """Those of images with the means and variances ``(N, C)``."""
        mean_nc = mean_nc - self.centre
        self.mass = self.mass + tau.sum(0)[:, None]
        self.first = self.first + tau.T @ mean_nc
        self.second = self.second + tau.T @ (var_nc + mean_nc.square())

    def moments(self, pseudo_count: float) -> tuple[Tensor, Tensor]:
        """Mean and biased variance ``(K, C)`` of each cluster, and of ``pseudo_count`` images that are like all."""
        count = pseudo_count or 1e-9  # a cluster without an image has the moments of all
        images = self.mass.sum()
        mean_kc = (self.first + count * self.first.sum(0) / images) / (self.mass + count)
        second_kc = (self.second + count * self.second.sum(0) / images) / (self.mass + count)
        return mean_kc + self.centre, (second_kc - mean_kc.square()).clamp_min(0.0)


@torch.no_grad()
def fit_mixture(model: nn.Module, layers: list[UAN], batches: Batches, pseudo_count: float, seed: int) -> Tensor:
    """Fit ``layers``, which assign together, to images; ``model`` runs in evaluation mode.

    k-means finds the clusters, in what the layers that assign see of the network as it was trained. Then every layer
    assigns the images to these clusters, and takes the moments of the images that it assigned, each behind the layers
    before it. A cluster's moments are shrunk toward those of all images, as if it had seen ``pseudo_count`` more images
    that are like all.

    Args:
        model: the network that ``layers`` are part of.
        layers: UAN layers of sample assignment, in the order in which they run, joined by ``depth``.
        batches: the images in a random order; called twice.
        pseudo_count: 0 means no shrinkage.
        seed: of k-means.

    Returns:
        The cluster of every image, one-hot ``(N, K)``, on the CPU.
    """
    model.eval()
    assigning = layers[: layers[0].options.depth or 1]
    tau = _clusters(_styles(model, assigning, batches), layers[0].num_clusters, seed)
    _fit_layers(model, layers, batches, tau, pseudo_count)
    return tau


def _styles(model: nn.Module, layers: list[UAN], batches: Batches) -> Tensor:
    """What tells an image's condition, ``(N, S)``: mean and log variance of the channels in front of each layer.

    Every number has variance 1 over the images, before each layer gets the same weight, however many channels it has.
    """
    seen: list[dict[UAN, tuple[Tensor, Tensor]]] = []

    def look(layer: UAN, inputs: tuple[Tensor, ...]) -> None:
        seen[-1].setdefault(layer, _of_images(inputs[0]))  # what a layer that runs twice sees first
        if len(seen[-1]) == len(layers):
            raise _SeenEnough

    with ExitStack() as watches:
        for layer in layers:
            watches.callback(layer.register_forward_pre_hook(look).remove)
        for images in batches():
            seen.append({})
            with suppress(_SeenEnough):
                model(images)
    ran = [layer for layer in layers if layer in seen[0]]  # an auxiliary head, say, does not
    if not ran:
        raise UserError(f"none of the first {len(layers)} norm layers runs: name a larger depth")
    styles = []
    for layer in ran:
        mean_nc, var_nc = (torch.cat(part) for part in zip(*(batch[layer] for batch in seen), strict=True))
        style = torch.cat([mean_nc, (var_nc + MIN_VAR).log()], 1)
        styles.append(torch.from_numpy(StandardScaler().fit_transform(style.numpy())) / style.shape[1] ** 0.5)
    return torch.cat(styles, 1)


def _clusters(styles: Tensor, clusters: int, seed: int) -> Tensor:
    """The cluster of each image by k-means, one-hot ``(N, K)``; some are empty where few styles differ."""
    different = len(np.unique(styles.numpy(), axis=0))
    found = KMeans(min(clusters, different), n_init=4, random_state=seed).fit_predict(styles.numpy())
    return F.one_hot(torch.from_numpy(found).long(), clusters).double()


def _of_images(x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and variance ``(N, C)`` of each image's channels, in float64 on the CPU."""
    mean_nc, var_nc = sample_statistics(x.float())
    return mean_nc.double().cpu(), var_nc.double().cpu()


def _fit_layers(model: nn.Module, layers: list[UAN], batches: Batches, tau: Tensor, pseudo_count: float) -> None:
    """The clusters ``tau`` in all layers, and their moments, by one forward of every image.

    The moments are those of the images that the layer itself will assign to a cluster: the first layers have less
    evidence than all together. A part of the images is normalised by the moments of all parts so far, from layer to
    layer.
    """
    seen: dict[UAN, tuple[_Sums, _Sums]] = {}
    own = tau

    def fit(layer: UAN, inputs: tuple[Tensor, ...]) -> None:
        mean_nc, var_nc = _of_images(inputs[0])
        clusters, assigned = seen.setdefault(layer, (_Sums(mean_nc.mean(0)), _Sums(mean_nc.mean(0))))
        clusters.add(own, mean_nc, var_nc)
        _set_clusters(layer, clusters)
        assigned.add(layer.responsibilities(inputs[0]).double().cpu(), mean_nc, var_nc)
        _set_moments(layer, assigned, pseudo_count)

    with ExitStack() as watches:
        for layer in layers:
            watches.callback(layer.register_forward_pre_hook(fit).remove)
        start = 0
        for images in _parts(batches()):
            own = tau[start : start + len(images)]
            start += len(images)
            model(images)


def _parts(batches: Iterable[Tensor]) -> Iterator[Tensor]:
    """Batches put together until they have ``PIXELS``."""
    held: list[Tensor] = []
    for images in batches:
        held.append(images)
        if sum(each[:, 0].numel() for each in held) >= PIXELS:
            yield torch.cat(held)
            held = []
    if held:
        yield torch.cat(held)


def _set_clusters(layer: UAN, sums: _Sums) -> None:
    """The clusters by which ``layer`` assigns an image."""
    mean_kc, var_kc = sums.moments(0.0)
    share_k = sums.mass[:, 0] / sums.mass.sum()
    layer.mean.copy_(mean_kc)
    layer.log_var.copy_(var_kc.clamp_min(MIN_VAR).log())
    layer.prior_logits.copy_(share_k.clamp_min(PRIOR_FLOOR / layer.num_clusters).log())
    layer.initialized.fill_(True)


def _set_moments(layer: UAN, sums: _Sums, pseudo_count: float) -> None:
    """The running moments by which ``layer`` normalises."""
    running = layer.running
    assert running is not None
    mean_kc, var_kc = sums.moments(pseudo_count)
    running.mean.copy_(mean_kc)
    running.var.copy_(var_kc)
    running.mass.fill_(1.0)
    running.batches.fill_(1)
