"""LAME: the predictions are smoothed over neighbours in feature space; the model stays as it is."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier

ITERATIONS, TOLERANCE = 100, 1e-8
"""At most, and the relative change of the energy that ends them before; both are the authors'."""

Affinity = Literal["knn", "rbf", "linear"]


class LAME(SourceFreeMethod):
    r"""Laplacian-adjusted maximum-likelihood estimation (Boudiaf et al., CVPR 2022, arXiv:2201.05718).

    .. math:: \min_Z \sum_i KL(z_i ‖ p_i) - \tfrac{1}{2} \sum_{i,j} w_{ij} z_i^T z_j \quad \text{by} \quad
        z_i^{(t+1)} ∝ p_i ⊙ \exp \sum_j w_{ij} z_j^{(t)}

    over the images of a batch, from z = p, the model's probabilities; w is the affinity of features f of length one:

    - ``knn``: 1 where j is one of the ``neighbors`` nearest of i;
    - ``rbf``: exp(−‖f_i − f_j‖² / 2σ²), σ the mean distance to the ``neighbors``-th nearest image, oneself included;
    - ``linear``: f_i·f_j.

    Affinities, 5 neighbours and the iteration are the authors' code, whose configuration is ``rbf`` in batches of 64,
    for streams in which images near in time share a class. Images of a folder have no order: batches are drawn at
    random and may be large. There the sums of ``rbf`` and ``linear`` grow with the batch, and soon all its predictions
    are one class; a sum of ``knn`` is ``neighbors``. Hence the defaults, ``knn`` and 1024.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        affinity: Affinity = "knn",
        neighbors: Annotated[int, Field(ge=1)] = 5,
        batch: Annotated[int, Field(ge=1)] = 1024,
    ) -> None:
        super().__init__()
        self.affinity: Affinity = affinity
        self.neighbors, self.batch = neighbors, batch

    def adapt(self, model: Classifier, target: Target) -> Tensor:
        """The adjusted probabilities ``(N, C)``; nothing of the model changes."""
        features, logits = target.predict(model)
        log_p = logits.double().log_softmax(1)
        adjusted = torch.empty_like(log_p)
        for indices in torch.split(target.order(0), self.batch):
            weights = affinities(features[indices].double(), self.affinity, self.neighbors)
            adjusted[indices] = laplacian_adjusted(log_p[indices], weights)
        return adjusted


def affinities(features: Tensor, kind: Affinity, neighbors: int) -> Tensor:
    """The affinity of every pair of images, ``(N, N)``, from their features ``(N, F)``."""
    unit = F.normalize(features, dim=1)
    if kind == "linear":
        return unit @ unit.T
    distance = torch.cdist(unit, unit, compute_mode="donot_use_mm_for_euclid_dist")  # exact for near neighbours
    if kind == "rbf":
        width = distance.sort(1).values[:, min(neighbors, len(unit)) - 1].mean()
        return (-(distance.square()) / (2 * width.square().clamp_min(1e-30))).exp()  # equal features have no width
    nearest = distance.fill_diagonal_(-1.0).argsort(dim=1, stable=True)[:, 1 : neighbors + 1]  # oneself comes first
    return torch.zeros_like(distance).scatter_(1, nearest, 1.0)


def laplacian_adjusted(log_p: Tensor, weights: Tensor) -> Tensor:
    """Probabilities ``(N, C)`` from the model's log-probabilities ``(N, C)`` and the affinities ``(N, N)``."""
    z, before = log_p.exp(), float("inf")
    for iteration in range(ITERATIONS):
        pull = weights @ z
        log_z = (log_p + pull).log_softmax(1)
        z = log_z.exp()
        energy = float((z * (log_z - log_p - pull)).sum())
        if iteration > 1 and abs(energy - before) <= TOLERANCE * abs(before):
            break
        before = energy
    return z
