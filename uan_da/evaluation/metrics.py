"""The numbers that a domain's predictions are reduced to."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest
from sklearn.metrics import precision_recall_fscore_support

from uan_da.data.adapter import UNKNOWN
from uan_da.evaluation.predict import Predictions

CONFIDENCE = 0.95


def domain_metrics(predictions: Predictions) -> dict[str, Any]:
    """Accuracy with its 95 % Wilson interval, and macro precision, recall and F1 over the classes of the test set.

    Images without a label do not count; without any labelled image every number is None. A class that is never
    predicted has precision 0.
    """
    known = predictions.labels != UNKNOWN
    labels, predicted = predictions.labels[known].numpy(), predictions.classes[known].numpy()
    if not len(labels):
        return {"n": 0} | dict.fromkeys(("accuracy", "interval", "precision", "recall", "f1"))
    correct = int((labels == predicted).sum())
    precision, recall, f1, _ = precision_recall_fscore_support(
        labels, predicted, labels=np.unique(labels), average="macro", zero_division=0
    )
    return {
        "n": len(labels),
        "accuracy": correct / len(labels),
        "interval": list(wilson_interval(correct, len(labels))),
        "precision": float(precision),
        "recall": float(recall),
        "f1": float(f1),
    }


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % score interval of a proportion (Wilson, 1927)."""
    interval = binomtest(correct, n).proportion_ci(CONFIDENCE, method="wilson")
    return float(interval.low), float(interval.high)


def paired_gain(correct: NDArray[np.bool_], baseline: NDArray[np.bool_]) -> dict[str, Any]:
    """Accuracy gained over a baseline on the same images, its 95 % interval, and the exact McNemar p-value.

    With b images that only the model gets right and c that only the baseline does, the gain is (b − c)/n, its
    standard error √(b + c − (b − c)²/n)/n (Agresti, "Categorical Data Analysis", 10.1), and p is the binomial test
    of b against c.
    """
    n = len(correct)
    won, lost = int((correct & ~baseline).sum()), int((~correct & baseline).sum())
    gain = (won - lost) / n
    margin = 1.959964 * float(np.sqrt(won + lost - (won - lost) ** 2 / n)) / n
    p_value = float(binomtest(won, won + lost).pvalue) if won + lost else 1.0
    return {"gain": gain, "interval": [gain - margin, gain + margin], "p_value": p_value, "n": n}
