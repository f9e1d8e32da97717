import numpy as np
import pytest

from uan_da.streams.evaluator import StreamDomain, StreamPredictions
from uan_da.streams.scores import error_over_time, scores


def predictions(domains: list[StreamDomain], wrong: np.ndarray) -> StreamPredictions:
    """All images of the domains in order; those where ``wrong`` is true are predicted by the next class."""
    domain = np.repeat(np.arange(len(domains)), [len(d.labels) for d in domains])
    index = np.concatenate([np.arange(len(d.labels)) for d in domains])
    labels = np.concatenate([d.labels for d in domains])
    probabilities = np.full((len(labels), 3), 0.1, dtype=np.float32)
    probabilities[np.arange(len(labels)), (labels + wrong) % 3] = 0.8
    return StreamPredictions(probabilities, domain, index, 1.0, 0, 0)


def test_errors_of_all_and_of_each_condition(domains: list[StreamDomain]) -> None:
    wrong = np.zeros(36, dtype=int)
    wrong[:5] = 1  # of fog
    wrong[21] = 1  # the second image of the second domain is bright
    rows = scores(predictions(domains, wrong), predictions(domains, 0 * wrong), domains)
    found = {row["domain"]: (row["n"], row["error"]) for row in rows}
    assert found == {"all": (36, 6 / 36), "fog": (20, 5 / 20), "dark": (8, 0.0), "bright": (8, 1 / 8)}
    assert rows[1]["ece"] == pytest.approx(abs(0.8 - 0.75), abs=1e-6)


def test_a_collapse_is_an_end_that_is_worse_than_the_sources(domains: list[StreamDomain]) -> None:
    early, late = np.zeros(36, dtype=int), np.zeros(36, dtype=int)
    early[:20], late[-4:] = 1, 1
    collapsed = scores(predictions(domains, late), predictions(domains, early), domains)[0]
    assert (collapsed["end_error"], collapsed["source_end_error"], collapsed["collapsed"]) == (1.0, 0.0, True)
    assert not scores(predictions(domains, early), predictions(domains, late), domains)[0]["collapsed"]
    assert not scores(predictions(domains, late), predictions(domains, late), domains)[0]["collapsed"]


def test_unknown_labels_are_in_no_error(domains: list[StreamDomain]) -> None:
    domains[0].labels[:] = -1
    rows = scores(predictions(domains, np.zeros(36, dtype=int)), predictions(domains, np.zeros(36, dtype=int)), domains)
    assert [(row["domain"], row["n"]) for row in rows] == [("all", 16), ("fog", 0), ("dark", 8), ("bright", 8)]
    assert np.isnan(rows[1]["error"])


def test_error_over_time(domains: list[StreamDomain]) -> None:
    wrong = np.zeros(36, dtype=int)
    wrong[18:] = 1
    curve = error_over_time(predictions(domains, wrong), domains)
    assert curve[-1][0] == 36
    assert [error for seen, error in curve if seen <= 18] == [0.0] * 18
    assert {error for seen, error in curve if seen > 18} == {1.0}
