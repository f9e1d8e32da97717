"""Validators that read the outputs on the target: how sure they are, and how evenly they use the classes."""

from typing import Annotated, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.evaluation.predict import Predictions

Scaling = Literal["taylor", "softmax"]


def entropy(target: Predictions) -> float:
    """−mean H(p) on the target: confident is better (Morerio et al., ICLR 2018, arXiv:1711.10288)."""
    return -float(_entropy(target.probabilities).mean())


def diversity(target: Predictions) -> float:
    """H(mean p) on the target: classes used evenly are better (the first term of information maximisation)."""
    return float(_entropy(target.probabilities.mean(0, keepdim=True)))


def information_maximization(target: Predictions) -> float:
    """H(mean p) − mean H(p) on the target: confident and diverse (Shi & Sha, ICML 2012, arXiv:1206.6438)."""
    return diversity(target) + entropy(target)


def bnm(target: Predictions) -> float:
    """Nuclear norm ‖P‖∗ / N of the target's probabilities: confident and diverse (Cui et al., CVPR 2020).

    BNM, arXiv:2003.12237.
    """
    return float(torch.linalg.matrix_norm(target.probabilities, "nuc")) / len(target)


def mano(target: Predictions, *, order: Annotated[float, Field(ge=1)] = 4.0, scaling: Scaling = "taylor") -> float:
    r"""MaNo: the matrix norm of normalised logits on the target (Xie et al., NeurIPS 2024, arXiv:2405.18979).

    .. math:: \Big(\frac{1}{NK} \sum_{nk} σ(z_n)_k^p\Big)^{1/p}, \quad σ(z)_k = v(z)_k / \sum_j v(z)_j

    ``taylor``: v(z) = t(z) − min t(z), t(z) = 1 + z + z²/2, which overconfidence distorts less; ``softmax``: v = exp.
    The paper takes softmax where Φ, the mean of −log softmax over images and classes, exceeds 5. Φ moves during a
    training, and the score would jump where it crosses 5; so the recipe chooses one for a whole run.
    """
    z = target.logits.double()
    q = z.softmax(1) if scaling == "softmax" else _taylor(z)
    return float(q.pow(order).mean() ** (1 / order))


def _entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nats of each row, ``(N,)``; 0·log 0 is 0."""
    return -(probabilities * probabilities.clamp_min(1e-30).log()).sum(1)


def _taylor(z: Tensor) -> Tensor:
    """The normalised second-order series of exp; a row of equal logits is zero, for nothing in it stands out."""
    series = 1 + z + z.square() / 2
    return F.normalize(series - series.amin(1, keepdim=True), p=1, dim=1)
