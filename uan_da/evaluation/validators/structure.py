"""Validators that read how the target's images lie: clusters by class, near neighbours, the rank of the features."""

import warnings
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score
from torch.nn import functional as F

from uan_da.evaluation.predict import Predictions

IMAGES = 1000
"""The silhouette looks at all pairs: of more images, this many, evenly spread over the set, stand for all."""
EPS = 1e-7
"""What RankMe adds to each share of the singular values, as its paper does."""


def class_clustering(target: Predictions) -> float:
    """Mean silhouette of the target's features, the predicted classes as clusters (Rousseeuw, 1987).

    (b − a) / max(a, b) of each image: a its mean distance to the images of its class, b to those of the nearest other
    class; features of length 1, Euclidean. −1, the worst, where all images are given one class, or each its own.
    """
    features, classes = _features(target), target.classes.numpy()
    if len(features) > IMAGES:
        chosen = np.linspace(0, len(features) - 1, IMAGES).astype(int)
        features, classes = features[chosen], classes[chosen]
    if not 2 <= len(np.unique(classes)) < len(classes):
        return -1.0
    return float(silhouette_score(features, classes))


def class_ami(target: Predictions) -> float:
    """Adjusted mutual information of predicted classes and k-means of the target's features (Musgrave et al., 2022).

    ClassAMI of "Three New Validators", arXiv:2208.07360. As many clusters as the task has classes, predicted or not
    (as many as images, where these are fewer). k-means starts from the mean feature of each predicted class, and from
    the origin for a class without one, so that the score has no randomness. 0 where all images are given one class.
    """
    features, classes = _features(target), target.classes.numpy()
    if len(np.unique(classes)) < 2:
        return 0.0
    clusters = min(target.logits.shape[1], len(features))
    start = np.zeros((clusters, features.shape[1]), features.dtype)
    predicted = [features[classes == c].mean(0) for c in np.unique(classes)]
    start[: len(predicted)] = predicted
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct features than classes: collapsed
        found = KMeans(clusters, init=start, n_init=1).fit_predict(features)
    return float(adjusted_mutual_info_score(classes, found))


def snd(target: Predictions, *, temperature: Annotated[float, Field(gt=0)] = 0.05) -> float:
    r"""Soft neighbourhood density: entropy of the similarities of the target's outputs (Saito et al., ICCV 2021).

    SND, arXiv:2108.10860:

    .. math:: \frac1N \sum_i H(\mathrm{softmax}_{j≠i}(\cos(p_i, p_j) / T))

    over class probabilities p: high where each image has many near neighbours. One image has none: 0.
    """
    if len(target) < 2:
        return 0.0
    p = F.normalize(target.probabilities, dim=1)
    similarity = p @ p.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    log_q = similarity.log_softmax(1).fill_diagonal_(0.0)
    q = log_q.exp().fill_diagonal_(0.0)
    return -float((q * log_q).sum(1).mean())


def rankme(target: Predictions) -> float:
    r"""RankMe: the effective rank of the target's features (Garrido et al., ICML 2023, arXiv:2210.02885).

    .. math:: \exp\Big(-\sum_k p_k \log p_k\Big), \quad p_k = σ_k / \sum_j σ_j + 10^{-7}

    over the singular values σ of the features ``(N, F)``. It says that features have not collapsed, and knows nothing
    of classes.
    """
    x = target.features.double()
    gram = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny) + EPS
    return float((-(p * p.log()).sum()).exp())


def _features(target: Predictions) -> NDArray[np.float32]:
    features: NDArray[np.float32] = F.normalize(target.features, dim=1).numpy()
    return features
