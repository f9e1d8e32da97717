"""The numbers that a domain's predictions are reduced to."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from uan_da.data.adapter import UNKNOWN
from uan_da.evaluation.predict import Predictions

CONFIDENCE = 0.95
BINS = 15
"""Bins of the calibration error, as in Guo et al. (2017)."""
METRICS = ("accuracy", "interval", "precision", "recall", "f1", "nll", "ece", "auroc", "per_class")


def domain_metrics(predictions: Predictions) -> dict[str, Any]:
    """What the predictions on one domain are worth, from its labelled images; without any, every number is None.

    Accuracy with its 95 % Wilson interval; precision, recall and F1, macro over the classes that the images have (a
    class that is never predicted has precision 0); negative log-likelihood in nats; expected calibration error; AUROC
    of the confidence, whose positives are right predictions (Hendrycks & Gimpel, ICLR 2017); accuracy of each class
    (None for a class without an image).
    """
    from sklearn.metrics import precision_recall_fscore_support

    known = predictions.labels != UNKNOWN
    labels, predicted = predictions.labels[known].numpy(), predictions.classes[known].numpy()
    if not len(labels):
        return {"n": 0} | dict.fromkeys(METRICS)
    right = labels == predicted
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    confidence = predictions.probabilities[known].double().amax(1).numpy()
    return {
        "n": len(labels),
        "accuracy": int(right.sum()) / len(labels),
        "interval": list(wilson_interval(int(right.sum()), len(labels))),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
        "nll": negative_log_likelihood(predictions),
        "ece": calibration_error(confidence, right),
        "auroc": auroc(confidence, right),
        "per_class": class_accuracies(confusion(predictions)),
    }


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson, 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def confusion(predictions: Predictions) -> NDArray[np.int64]:
    """Counts ``(classes, classes)`` of labelled images: row the label, column the prediction."""
    from sklearn.metrics import confusion_matrix

    known = predictions.labels != UNKNOWN
    classes = np.arange(predictions.logits.shape[1])
    if not bool(known.any()):
        return np.zeros((len(classes), len(classes)), dtype=np.int64)
    counts: NDArray[np.int64] = confusion_matrix(
        predictions.labels[known].numpy(), predictions.classes[known].numpy(), labels=classes
    )
    return counts


def class_accuracies(counts: NDArray[np.int64]) -> list[float | None]:
    """The accuracy of each class from a confusion matrix; None for a class without an image."""
    return [int(row[c]) / int(row.sum()) if row.sum() else None for c, row in enumerate(counts)]


def negative_log_likelihood(predictions: Predictions) -> float:
    """−mean log p(label) over the labelled images, in nats."""
    known = predictions.labels != UNKNOWN
    log_p = predictions.logits[known].double().log_softmax(1)
    return -float(log_p.gather(1, predictions.labels[known][:, None]).mean())


def calibration_error(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> float:
    r"""Expected calibration error: :math:`\sum_b \frac{n_b}{n} |acc_b - conf_b|` over 15 equal bins of the confidence
    (Naeini et al., AAAI 2015; Guo et al., ICML 2017, arXiv:1706.04599); bin b is (b/15, (b+1)/15]."""
    bins = np.ceil(confidence * BINS).clip(1, BINS).astype(int) - 1
    gaps = np.bincount(bins, weights=right.astype(float) - confidence, minlength=BINS)
    return float(np.abs(gaps).sum() / len(right))


def auroc(score: NDArray[np.float64], positive: NDArray[np.bool_]) -> float | None:
    """The chance that a positive has a higher ``score`` than a negative, ties counted half: the area under the ROC
    curve; None where all are positive, or all negative."""
    from scipy.stats import rankdata

    positives, negatives = int(positive.sum()), int((~positive).sum())
    if not positives or not negatives:
        return None
    rank_sum = float(rankdata(score)[positive].sum())
    return (rank_sum - positives * (positives + 1) / 2) / (positives * negatives)


def harmonic_mean(source: list[float | None], target: float | None) -> float | None:
    """Harmonic mean 2st/(s + t) of the sources' mean accuracy s and the target's t; 0 where either is 0, None where
    one is not known."""
    known = [accuracy for accuracy in source if accuracy is not None]
    if not known or target is None:
        return None
    mean = sum(known) / len(known)
    return 2 * mean * target / (mean + target) if mean and target else 0.0


def paired_gain(correct: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> dict[str, Any]:
    """Accuracy gained over a baseline on the same images, its 95 % interval, and the exact McNemar p-value.

    With b images that only the model gets right and c that only the baseline does, the gain is (b − c)/n, its
    standard error √(b + c − (b − c)²/n)/n (Agresti, "Categorical Data Analysis", 10.1), and p is the binomial test
    of b against c. Without an image every number is None.
    """
    from scipy.stats import binomtest

    n = len(correct)
    if not n:
        return {"gain": None, "interval": None, "p_value": None, "n": 0}
    won, lost = int((correct & ~baseline).sum()), int((~correct & baseline).sum())
    gain = (won - lost) / n
    margin = 1.959964 * float(np.sqrt(won + lost - (won - lost) ** 2 / n)) / n
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return {"gain": gain, "interval": [gain - margin, gain + margin], "p_value": p_value, "n": n}


def correct_predictions(predictions: Predictions) -> NDArray[np.bool_]:
    """Which of the labelled images the model gets right."""
    known = predictions.labels != UNKNOWN
    right: NDArray[np.bool_] = torch.eq(predictions.classes, predictions.labels)[known].numpy()
    return right
