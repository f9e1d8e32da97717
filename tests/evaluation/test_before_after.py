import json
import math

import pytest
import torch

from uan_da.evaluation.before_after import before_after, summary
from uan_da.evaluation.predict import Predictions


def predictions(p: list[list[float]], labels: list[int]) -> Predictions:
    logits = torch.tensor(p, dtype=torch.float64).log()
    return Predictions(torch.zeros(len(p), 2), logits, torch.tensor(labels))


BEFORE = [[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.5, 0.4, 0.1], [0.1, 0.1, 0.8]]
AFTER = [[0.9, 0.05, 0.05], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]


def test_a_summary_is_counted_by_hand() -> None:
    found = summary(predictions(BEFORE, [0, 1, 1, 2]))
    assert found["confidence"] == pytest.approx((0.6 + 0.7 + 0.5 + 0.8) / 4)
    assert found["entropy"] == pytest.approx(-sum(q * math.log(q) for row in BEFORE for q in row) / 4)
    assert found["class_shares"] == [0.5, 0.25, 0.25]
    assert found["accuracy"] == 0.75
    low, high = found["interval"]
    assert low < 0.75 < high


def test_what_lies_between() -> None:
    found = before_after(predictions(BEFORE, [0, 1, 1, 2]), predictions(AFTER, [0, 1, 1, 2]))
    assert (found["n"], found["labelled"], found["changed"]) == (4, 4, 2)
    assert found["shift"] == 0.0  # two images changed places
    assert found["gain"]["gain"] == 0.0
    assert found["gain"]["p_value"] == 1.0
    json.dumps(found, allow_nan=False)


def test_the_shift_is_the_total_variation_of_the_shares() -> None:
    one = predictions([[1.0, 0.0, 0.0]] * 4, [-1] * 4)
    found = before_after(predictions(BEFORE, [-1] * 4), one)
    assert found["shift"] == 0.5  # shares ½ ¼ ¼ → 1 0 0
    assert found["after"]["entropy"] == 0.0
    assert found["labelled"] == 0
    assert found["before"]["accuracy"] is None
    assert found["gain"]["gain"] is None
    json.dumps(found, allow_nan=False)


def test_unlabelled_images_do_not_count_as_wrong() -> None:
    found = before_after(predictions(BEFORE, [0, -1, 1, -1]), predictions(AFTER, [0, -1, 1, -1]))
    assert found["labelled"] == 2
    assert (found["before"]["accuracy"], found["after"]["accuracy"]) == (0.5, 1.0)
    assert found["gain"]["gain"] == 0.5
