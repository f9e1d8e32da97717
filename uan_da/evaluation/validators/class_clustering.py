"""Validators that read how well the target's features cluster by class."""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import adjusted_mutual_info_score, silhouette_score
from torch.nn import functional as F

from uan_da.evaluation.predict import Predictions

IMAGES = 1000
"""The silhouette looks at all pairs: of more images, this many, evenly spread over the set, stand for all."""


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


def _features(target: Predictions) -> NDArray[np.float32]:
    features: NDArray[np.float32] = F.normalize(target.features, dim=1).numpy()
    return features
