"""The numbers of open-set papers against plain counting, down to degenerate targets."""

from typing import Any

import pytest
import torch
from sklearn.metrics import recall_score, roc_auc_score

from uan_da.evaluation.open_set import KEYS, headline, open_set_metrics
from uan_da.evaluation.predict import Predictions


@pytest.mark.parametrize("seed", range(3))
def test_they_are_scikit_learns(make: Any, seed: int) -> None:
    """Classes 0 to 2 are shared, 3 and 4 the source's own, and 5 is unknown."""
    predictions = make(n=200, classes=6, seed=seed)
    labels = torch.where((predictions.labels == 3) | (predictions.labels == 4), 5, predictions.labels)
    predictions = Predictions(predictions.features, predictions.logits, labels)
    found = open_set_metrics(predictions, 3)
    y, yhat = labels.numpy(), predictions.logits.argmax(1).numpy()
    of_classes = recall_score(y, yhat, labels=[0, 1, 2, 5], average=None)
    known, unknown = of_classes[:3].mean(), of_classes[3]
    assert found["known"] == pytest.approx(known)
    assert found["unknown"] == pytest.approx(unknown)
    assert found["mean"] == pytest.approx(of_classes.mean())
    assert found["h_score"] == pytest.approx(2 / (1 / known + 1 / unknown))
    strange = predictions.logits[:, 5] - predictions.logits[:, :5].max(1).values
    assert found["auroc"] == pytest.approx(roc_auc_score(y == 5, strange.numpy()))


def test_shared_classes_count_alike_whatever_their_size(make: Any) -> None:
    predictions = make.of([[0.8, 0.1, 0.1]] * 4 + [[0.1, 0.1, 0.8]] * 2, [0, 0, 0, 1, 2, 2])
    found = open_set_metrics(predictions, 2)
    assert found == {
        "known": 0.5,
        "unknown": 1.0,
        "mean": pytest.approx(2 / 3),
        "h_score": pytest.approx(2 / 3),
        "auroc": 1,
    }


def test_what_no_image_tells_is_none(make: Any) -> None:
    row = [0.5, 0.2, 0.3]
    assert open_set_metrics(make.of([row], [-1]), 2) == dict.fromkeys(KEYS)
    all_known = open_set_metrics(make.of([row], [0]), 2)
    assert (all_known["known"], all_known["unknown"], all_known["h_score"], all_known["auroc"]) == (1, None, None, None)
    nothing_right = open_set_metrics(make.of([row, row], [1, 2]), 2)
    assert nothing_right["h_score"] == nothing_right["mean"] == 0
    all_rejected = open_set_metrics(make.of([[0.1, 0.1, 0.8]] * 2, [0, 2]), 2)
    assert (all_rejected["known"], all_rejected["unknown"], all_rejected["h_score"]) == (0, 1, 0)
    assert all_rejected["auroc"] == 0.5


def test_methods_are_ranked_by_what_papers_rank_them_by() -> None:
    assert headline({"accuracy": 0.5}) == ("accuracy", 0.5)
    assert headline({"accuracy": 0.5, "open_set": {"h_score": 0.25}}) == ("H-score", 0.25)
