"""How the clusters of a model divide a batch: how much each is used, and whether they separate the labels."""

import warnings
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from uan_da.norms.recalibrate import changed
from uan_da.norms.running import MixtureLayer
from uan_da.norms.uan.mixture import MIN_MASS


class DeadClusterWarning(UserWarning):
    """A cluster gets no data."""


@dataclass(frozen=True)
class ClusterReport:
    """One layer and one batch."""

    path: str
    usage: Tensor
    """Mean responsibility of each cluster ``(K,)``; sums to one."""
    usage_by_label: Tensor | None
    """The same for the samples of each label, ``(number of labels, K)``."""
    nmi: float | None
    """Normalised mutual information between the most responsible cluster and the label."""

    def __str__(self) -> str:
        shares = " ".join(f"{share:.2f}" for share in self.usage.tolist())
        return f"{self.path}: usage {shares}" + ("" if self.nmi is None else f", nmi {self.nmi:.2f}")


def diagnose(model: nn.Module, images: Tensor, labels: Tensor | None = None) -> list[ClusterReport]:
    """Report the clusters of UAN and MixtureNorm layers in ``model``, in evaluation mode, on one batch.

    Args:
        model: any module; its train/eval mode is restored.
        images: ``(N, C, …)``.
        labels: a label of each sample, ``(N,)`` from 0 on: its domain or its class.

    Raises:
        ValueError: no image, another number of labels, or a negative one.

    Warns:
        DeadClusterWarning: a cluster has a mean responsibility below a thousandth.

    Example:
        >>> from uan_da.norms import UAN2d
        >>> model = nn.Sequential(UAN2d(3, num_clusters=2))
        >>> images = torch.randn(16, 3, 8, 8)
        >>> _ = model(images)
        >>> len(diagnose(model, images))
        1
    """
    if not len(images):
        raise ValueError("Expected `images` to be at least one image, but got none")
    if labels is not None and (labels.shape != images.shape[:1] or labels.min() < 0):
        raise ValueError(f"Expected `labels` to be {len(images)} numbers from 0 on, but got {labels}")
    reports: list[ClusterReport] = []
    evaluating = [(module, "training", False) for module in model.modules()]

    def look(path: str, layer: MixtureLayer, inputs: tuple[Tensor, ...]) -> None:
        reports.append(_report(path, _by_cluster(layer.responsibilities(inputs[0])), labels))

    with torch.no_grad(), changed(evaluating), ExitStack() as watches:
        for path, layer in model.named_modules():
            if isinstance(layer, MixtureLayer):
                watches.callback(layer.register_forward_pre_hook(partial(look, path)).remove)
        model(images)
    for report in reports:
        _warn_of_dead(report)
    return reports


def normalized_mutual_information(a: Tensor, b: Tensor) -> float:
    r"""NMI of two labellings ``(N,)``: :math:`2 I(a; b) / (H(a) + H(b))`; 0 where either has a single value."""
    from sklearn.metrics import normalized_mutual_info_score  # importing norms does not wait for it

    if bool((a == a[0]).all()):  # of two single values scikit-learn says 1
        return 0.0
    return float(normalized_mutual_info_score(a.cpu().numpy(), b.cpu().numpy()))


def _by_cluster(tau: Tensor) -> Tensor:
    """Responsibilities of either form, ``(N, K)`` or ``(K, N, …)``, as ``(K, N, values of a sample)``."""
    return tau.T[:, :, None] if tau.dim() == 2 else tau.flatten(2)


def _report(path: str, tau: Tensor, labels: Tensor | None) -> ClusterReport:
    usage = tau.mean((1, 2))
    if labels is None:
        return ClusterReport(path, usage, None, None)
    by_label = torch.stack([tau[:, labels == label].mean((1, 2)) for label in range(int(labels.max()) + 1)])
    hard = tau.argmax(0)
    repeated = labels[:, None].expand_as(hard)
    return ClusterReport(path, usage, by_label, normalized_mutual_information(hard.flatten(), repeated.flatten()))


def _warn_of_dead(report: ClusterReport) -> None:
    dead = [k for k, share in enumerate(report.usage.tolist()) if share < MIN_MASS]
    if dead:
        which = ", ".join(map(str, dead))
        warnings.warn(
            f"{report.path}: of {len(report.usage)} clusters, number {which} gets less than {MIN_MASS:.1%} of the "
            "batch",
            DeadClusterWarning,
            stacklevel=3,
        )
