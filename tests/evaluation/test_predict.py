"""Predictions that are not finite are refused where they are made."""

import math

import pytest
import torch

from uan_da.evaluation.predict import NonFinitePredictions, Predictions


@pytest.mark.parametrize(
    "row", [[math.nan, 0.0], [0.0, math.nan], [math.inf, 0.0], [math.inf, math.inf], [-math.inf, -math.inf]]
)
def test_a_prediction_without_a_softmax_is_refused(row: list[float]) -> None:
    assert not bool(torch.tensor(row).softmax(0).isfinite().all())
    logits = torch.tensor([[1.0, 2.0], row, row])
    with pytest.raises(NonFinitePredictions, match="predictions on 2 of 3 images are not finite") as caught:
        Predictions(torch.zeros(3, 1), logits, torch.zeros(3, dtype=torch.int64))
    assert caught.value.first == 1
    assert str(caught.value.about("domain 'b'")).startswith("domain 'b': ")


def test_a_class_may_have_probability_zero() -> None:
    predictions = Predictions(torch.zeros(1, 1), torch.tensor([[-math.inf, 3.0]]), torch.zeros(1, dtype=torch.int64))
    assert predictions.probabilities.tolist() == [[0.0, 1.0]]


def test_no_image_is_no_fault() -> None:
    assert len(Predictions(torch.zeros(0, 1), torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64))) == 0
