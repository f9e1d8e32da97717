"""How far apart source and target are: as wholes, class by class, and in the classes' shares."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from uan_da.data.adapter import UNKNOWN
from uan_da.evaluation.predict import Predictions


def proxy_a_distance(source: Tensor, target: Tensor) -> float | None:
    """d = 2(1 − 2ε), ε the error of a linear classifier of source against target features (Ben-David et al., NeurIPS
    2006): 0 where they cannot be told apart, 2 where they always can.

    A logistic regression, fitted on every other image and judged on the rest; ε is the mean of both domains' errors,
    so that a larger domain does not count more. None with fewer than two images of either.
    """
    if min(len(source), len(target)) < 2:
        return None
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=200, class_weight="balanced"))
    domain = [0] * len(source[::2]) + [1] * len(target[::2])
    classifier.fit(torch.cat([source[::2], target[::2]]).numpy(), domain)
    wrong_source = float(np.mean(classifier.predict(source[1::2].numpy()) == 1))
    wrong_target = float(np.mean(classifier.predict(target[1::2].numpy()) == 0))
    return max(0.0, 2 * (1 - (wrong_source + wrong_target)))


def class_alignment(source: Predictions, target: Predictions) -> list[float | None]:
    """For each class, how near the target's mean feature is to the source's of the same class: its distance over that
    to the nearest other class of the source. Below 1 the class is aligned; None where a domain lacks it.

    Reads the target's labels.
    """
    classes = range(source.logits.shape[1])
    of_source = {c: source.features[source.labels == c].mean(0) for c in classes if bool((source.labels == c).any())}
    ratios: list[float | None] = []
    for c in classes:
        of_target = target.features[target.labels == c]
        others = [mean for other, mean in of_source.items() if other != c]
        if c not in of_source or not len(of_target) or not others:
            ratios.append(None)
            continue
        mean = of_target.mean(0)
        nearest = min(float((mean - other).norm()) for other in others)
        ratios.append(float((mean - of_source[c]).norm()) / max(nearest, 1e-12))
    return ratios


def label_shift(source_labels: Tensor, target: Predictions) -> dict[str, Any]:
    """The classes' shares: in the source's training images, as estimated on the target, and on the target's labels.

    The estimate (:func:`estimate_shares`) reads no target label; the truth, None without labels, is for comparison.
    """
    classes = target.logits.shape[1]
    source = torch.bincount(source_labels, minlength=classes).double() / len(source_labels)
    estimated = estimate_shares(source.numpy(), target.probabilities.double().numpy())
    known = target.labels[target.labels != UNKNOWN]
    true = (torch.bincount(known, minlength=classes).double() / len(known)).tolist() if len(known) else None
    distance = 0.5 * float(np.abs(estimated - source.numpy()).sum())
    return {"source": source.tolist(), "estimated": estimated.tolist(), "true": true, "total_variation": distance}


def estimate_shares(source: NDArray[np.float64], probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    r"""Maximum-likelihood class shares π of the target, ``(classes,)``, by EM (Saerens, Latinne & Decaestecker, 2002).

    .. math:: π_k ← \mathrm{mean}_n \frac{p_{nk}\, π_k / s_k}{\sum_j p_{nj}\, π_j / s_j}

    s are the source's shares. Right where p is calibrated on the source and only the shares differ; under other shifts
    it says what the model believes.
    """
    seen = source > 0
    ratio = probabilities[:, seen] / source[seen]
    shares = source[seen].copy()
    for _ in range(1000):
        joint = ratio * shares
        updated = (joint / joint.sum(1, keepdims=True).clip(1e-300)).mean(0)
        done = bool(np.abs(updated - shares).max() < 1e-9)
        shares = updated
        if done:
            break
    estimated = np.zeros_like(source)
    estimated[seen] = shares
    return estimated
