"""What the clusters of the UAN layers capture: domains, classes, or neither."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.metrics import normalized_mutual_info_score
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from uan_da.data.images import ImageSet
from uan_da.data.task import Domain
from uan_da.evaluation.predict import predict
from uan_da.models.classifier import Classifier
from uan_da.norms.uan.layer import UAN
from uan_da.norms.uan.mixture import sample_statistics
from uan_da.recipe.network import Input

EXAMPLES = 8
"""Images shown of each cluster."""
CHANNELS = 5
"""Channels named of each layer."""
LITTLE, MUCH = 0.05, 0.3
"""Normalised mutual information below the one is called none, below the other weak."""
IN_USE = 0.01
"""A cluster with less than this share of every domain is not in use."""


@dataclass
class Activations:
    """What a layer saw, one row a sample: responsibilities ``(N, K)``, mean and variance of its input ``(N, C)``."""

    tau: list[Tensor] = field(default_factory=list)
    mean: list[Tensor] = field(default_factory=list)
    var: list[Tensor] = field(default_factory=list)

    def note(self, layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        """Record a forward of ``layer``."""
        assert isinstance(layer, UAN)
        tau = layer.responsibilities(inputs[0])
        if layer.assignment == "element":  # (K, N, C, …): the share of a sample's activations
            tau = tau.flatten(2).mean(2).T
        mean_nc, var_nc = sample_statistics(inputs[0].float())
        for kept, value in ((self.tau, tau), (self.mean, mean_nc), (self.var, var_nc)):
            kept.append(value.float().cpu())


def cluster_report(
    model_of: Callable[[Domain], Classifier], domains: Sequence[Domain], images: Mapping[str, ImageSet], input: Input
) -> list[dict[str, Any]]:
    """One entry for each UAN layer: see :func:`describe_layer`; none for a model without such a layer.

    Args:
        model_of: the model as it is used on a domain.
        domains: the domains to compare.
        images: of each domain, ``name → images``; their labels are read, to compare clusters with classes.
        input: how images become the network's input.
    """
    seen: dict[str, dict[str, Activations]] = {}
    for domain in domains:
        for layer, activations in _record(model_of(domain), images[domain.name], input, domain.index).items():
            seen.setdefault(layer, {})[domain.name] = activations
    labels = {name: images[name].labels.cpu().numpy() for name in images}
    sources = [domain.name for domain in domains if domain.role == "source"]
    return [{"layer": layer, **describe_layer(of_domains, labels, sources)} for layer, of_domains in seen.items()]


def _record(model: Classifier, images: ImageSet, input: Input, domain: int) -> dict[str, Activations]:
    layers = {name: module for name, module in model.named_modules() if isinstance(module, UAN)}
    seen = {name: Activations() for name in layers}
    watching = [layer.register_forward_pre_hook(seen[name].note) for name, layer in layers.items()]
    try:
        predict(model, images, input, domain)
    finally:
        for watch in watching:
            watch.remove()
    return seen


def describe_layer(
    of_domains: Mapping[str, Activations], labels: Mapping[str, NDArray[np.int64]], sources: Sequence[str]
) -> dict[str, Any]:
    """How the clusters of one layer are used, and what they go with.

    Returns:
        ``usage``: the mean responsibility of each cluster, by domain. ``clusters`` and ``baseline``: normalised mutual
        information (arithmetic mean, of the most responsible cluster) with domain and with class; the baseline is
        k-means with as many clusters on the mean and standard deviation of each sample's channels. ``channels``: the
        most domain-specific ones, by the difference of source and target mean in pooled standard deviations.
        ``examples``: for each cluster, images that are its own, evenly spread. ``statement``: what this amounts to.
    """
    names = list(of_domains)
    tau, mean, var = (
        {name: torch.cat(getattr(of_domains[name], key)).double().numpy() for name in names}
        for key in ("tau", "mean", "var")
    )
    domain = np.repeat(np.arange(len(names)), [len(tau[name]) for name in names])
    label = np.concatenate([labels[name] for name in names])
    cluster = np.concatenate([tau[name] for name in names]).argmax(1)
    count = tau[names[0]].shape[1]
    report: dict[str, Any] = {
        "num_clusters": count,
        "usage": {name: tau[name].mean(0).tolist() for name in names},
        "clusters": information(cluster, domain, label),
        "baseline": information(_by_statistics(mean, var, count), domain, label),
        "channels": _channels(mean, var, sources),
        "examples": [_examples(cluster == k, names, domain) for k in range(count)],
    }
    return report | {"statement": statement(report)}


def information(cluster: NDArray[Any], domain: NDArray[Any], label: NDArray[Any]) -> dict[str, float | None]:
    """Normalised mutual information of the clusters with the domain, and with the class over the labelled images."""
    known = label >= 0
    of_class = float(normalized_mutual_info_score(label[known], cluster[known])) if known.any() else None
    return {"domain": float(normalized_mutual_info_score(domain, cluster)), "class": of_class}


def statement(report: Mapping[str, Any]) -> str:
    """In words, what the numbers of a layer allow to say, and no more."""
    by_cluster = zip(*report["usage"].values(), strict=True)
    if sum(max(shares) >= IN_USE for shares in by_cluster) < 2:
        return "Only one cluster is in use."
    domain, of_class = report["clusters"]["domain"], report["clusters"]["class"]
    plain = report["baseline"]["domain"]
    if domain < LITTLE:
        follows = "The clusters do not follow the domain"
    elif of_class is not None and of_class > domain:
        follows = "The clusters go with the class more than with the domain"
    else:
        follows = "The clusters follow the domain" if domain >= MUCH else "The clusters follow the domain weakly"
    versus = "less than" if domain < plain - LITTLE else "more than" if domain > plain + LITTLE else "as much as"
    with_class = "" if of_class is None else f", {of_class:.2f} with the class"
    return (
        f"{follows}: mutual information {domain:.2f} with the domain{with_class}. That is {versus} k-means on the "
        f"activations' means and standard deviations ({plain:.2f})."
    )


def _by_statistics(mean: dict[str, Any], var: dict[str, Any], count: int) -> NDArray[np.int32]:
    x = np.concatenate([np.concatenate([mean[name], np.sqrt(var[name])], 1) for name in mean])
    count = min(count, len(np.unique(x, axis=0)))
    clusters: NDArray[np.int32] = KMeans(count, n_init=4, random_state=0).fit_predict(StandardScaler().fit_transform(x))
    return clusters


def _channels(mean: dict[str, Any], var: dict[str, Any], sources: Sequence[str]) -> list[dict[str, Any]]:
    groups = [[name for name in mean if (name in sources) is is_source] for is_source in (True, False)]
    if not all(groups):
        return []
    means = [np.concatenate([mean[name] for name in group]) for group in groups]
    within = [np.concatenate([var[name] for name in group]).mean(0) for group in groups]
    total = [m.var(0) + own for m, own in zip(means, within, strict=True)]
    difference = (means[1].mean(0) - means[0].mean(0)) / np.sqrt((total[0] + total[1]) / 2 + 1e-12)
    order = np.argsort(-np.abs(difference), kind="stable")[:CHANNELS]
    return [{"channel": int(c), "difference": float(difference[c])} for c in order]


def _examples(own: NDArray[np.bool_], names: Sequence[str], domain: NDArray[np.int64]) -> list[dict[str, Any]]:
    indices = np.flatnonzero(own)
    if not len(indices):
        return []
    chosen = indices[np.unique(np.linspace(0, len(indices) - 1, EXAMPLES).astype(int))]
    starts = np.searchsorted(domain, np.arange(len(names)))
    return [{"domain": names[domain[i]], "row": int(i - starts[domain[i]])} for i in chosen]
