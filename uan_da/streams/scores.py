"""Errors of the predictions on a stream: one row per method and domain."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uan_da.data.adapter import UNKNOWN
from uan_da.evaluation.metrics import calibration_error
from uan_da.streams.evaluator import StreamDomain, StreamPredictions

ALL = "all"
"""The row of all domains together."""
END = 0.1
"""The last part of a stream, by which a collapse is judged."""
WINDOWS = 50
"""Points of the error over time."""


def scores(
    predictions: StreamPredictions, source: StreamPredictions, domains: Sequence[StreamDomain]
) -> list[dict[str, Any]]:
    """Rows of ``domain``, ``n``, ``error`` and ``ece`` (calibration error), from 0 to 1: first over all images, then
    over each condition, in the order of their names.

    The first row also has ``end_error``, the error over the last tenth of the stream, ``source_end_error``, that of
    the source network, and ``collapsed``, whether the first is above the second.
    """
    labels, names = _known(predictions, domains)
    wrong, end = _wrong(predictions, labels), slice(int(len(labels) * (1 - END)), None)
    ends = [float(np.nanmean(each[end])) for each in (wrong, _wrong(source, labels))]
    rows = [_row(ALL, predictions, labels, np.ones(len(labels), dtype=bool))]
    rows[0] |= {"end_error": ends[0], "source_end_error": ends[1], "collapsed": ends[0] > ends[1]}
    for name in dict.fromkeys(name for domain in domains for name in domain.names):
        chosen = names == name
        if chosen.any():
            rows.append(_row(name, predictions, labels, chosen))
    return rows


def error_over_time(predictions: StreamPredictions, domains: Sequence[StreamDomain]) -> list[tuple[int, float]]:
    """The number of images so far, and the error of the window that ends there."""
    wrong = _wrong(predictions, _known(predictions, domains)[0])
    ends = np.unique(np.linspace(0, len(wrong), WINDOWS + 1).astype(int))
    return [(int(b), float(np.nanmean(wrong[a:b]))) for a, b in pairwise(ends)]


def _known(
    predictions: StreamPredictions, domains: Sequence[StreamDomain]
) -> tuple[NDArray[np.int64], NDArray[np.str_]]:
    """Labels and names of the conditions, in the order of the stream."""
    labels = np.empty(len(predictions.domain), dtype=np.int64)
    names = np.empty(len(predictions.domain), dtype=object)
    for number, domain in enumerate(domains):
        here = predictions.domain == number
        index = predictions.index[here]
        labels[here] = domain.labels[index]
        names[here] = np.array(domain.names, dtype=object)[domain.conditions[index]]
    return labels, names


def _wrong(predictions: StreamPredictions, labels: NDArray[np.int64]) -> NDArray[np.float64]:
    """1 where a prediction is wrong, 0 where it is right, NaN where nobody knows."""
    wrong: NDArray[np.float64] = (predictions.probabilities.argmax(1) != labels).astype(np.float64)
    wrong[labels == UNKNOWN] = np.nan
    return wrong


def _row(
    name: str, predictions: StreamPredictions, labels: NDArray[np.int64], chosen: NDArray[np.bool_]
) -> dict[str, Any]:
    chosen = chosen & (labels != UNKNOWN)
    if not chosen.any():
        return {"domain": name, "n": 0, "error": float("nan"), "ece": float("nan")}
    probabilities = predictions.probabilities[chosen]
    right = probabilities.argmax(1) == labels[chosen]
    ece = calibration_error(probabilities.max(1).astype(np.float64), right)
    return {"domain": name, "n": int(chosen.sum()), "error": int((~right).sum()) / len(right), "ece": ece}
