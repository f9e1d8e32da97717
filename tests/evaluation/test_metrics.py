"""Every number against scikit-learn or a plain formula, down to degenerate inputs."""

import math

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn_metrics

from uan_da.evaluation.metrics import (
    METRICS,
    auroc,
    calibration_error,
    class_accuracies,
    confusion,
    correct_predictions,
    domain_metrics,
    harmonic_mean,
    paired_gain,
    wilson_interval,
)
from uan_da.evaluation.predict import Predictions


@pytest.mark.parametrize("seed", range(5))
def test_plain_metrics_are_scikit_learns(make, seed):
    predictions = make(n=80, classes=5, seed=seed)
    y, p = predictions.labels.numpy(), predictions.logits.double().softmax(1).numpy()
    yhat, found = p.argmax(1), domain_metrics(predictions)
    assert found["accuracy"] == sklearn_metrics.accuracy_score(y, yhat)
    for name, of in (("precision", "precision_score"), ("recall", "recall_score"), ("f1", "f1_score")):
        assert found[name] == pytest.approx(getattr(sklearn_metrics, of)(y, yhat, average="macro", zero_division=0))
    assert found["nll"] == pytest.approx(sklearn_metrics.log_loss(y, p, labels=range(5)), rel=1e-5)
    assert found["auroc"] == pytest.approx(sklearn_metrics.roc_auc_score(y == yhat, p.max(1)))
    assert confusion(predictions).tolist() == sklearn_metrics.confusion_matrix(y, yhat, labels=range(5)).tolist()
    assert found["per_class"] == pytest.approx(sklearn_metrics.recall_score(y, yhat, average=None))


def test_calibration_error_is_the_plain_loop(make):
    predictions = make(n=300, seed=3)
    confidence, right = predictions.probabilities.double().amax(1).numpy(), correct_predictions(predictions)
    expected = 0.0
    for b in range(15):
        inside = (confidence > b / 15) & (confidence <= (b + 1) / 15)
        if inside.any():
            expected += inside.mean() * abs(right[inside].mean() - confidence[inside].mean())
    assert calibration_error(confidence, right) == pytest.approx(expected)


def test_calibration_error_of_the_perfectly_sure():
    assert calibration_error(np.ones(4), np.array([True, True, True, True])) == 0.0
    assert calibration_error(np.ones(4), np.array([True, False, False, False])) == pytest.approx(0.75)


def test_wilson_is_its_formula():
    n, k, z = 360, 267, 1.959963984540054
    centre, half = (k + z**2 / 2) / (n + z**2), z * math.sqrt(k * (n - k) / n + z**2 / 4) / (n + z**2)
    assert wilson_interval(k, n) == pytest.approx((centre - half, centre + half))


def test_one_class_all_right(make):
    found = domain_metrics(make.of([[0.9, 0.1], [0.8, 0.2]], [0, 0]))
    assert (found["accuracy"], found["precision"], found["recall"], found["f1"]) == (1.0, 1.0, 1.0, 1.0)
    assert found["auroc"] is None
    assert found["per_class"] == [1.0, None]
    assert found["interval"][1] == 1.0


def test_all_wrong(make):
    found = domain_metrics(make.of([[0.9, 0.1], [0.2, 0.8]], [1, 0]))
    assert (found["accuracy"], found["precision"], found["f1"], found["auroc"]) == (0.0, 0.0, 0.0, None)
    assert found["ece"] == pytest.approx(0.85)
    assert found["interval"][0] == 0.0


def test_one_image(make):
    found = domain_metrics(make.of([[0.3, 0.7]], [1]))
    assert found["n"] == 1
    assert found["nll"] == pytest.approx(-math.log(0.7), rel=1e-6)
    assert all(math.isfinite(found[name]) for name in ("accuracy", "precision", "recall", "f1", "nll", "ece"))


def test_images_without_a_label_do_not_count(make):
    everything = make.of([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]], [0, 1, -1])
    labelled = Predictions(everything.features[:2], everything.logits[:2], everything.labels[:2])
    assert domain_metrics(everything) == domain_metrics(labelled)
    nothing = Predictions(everything.features, everything.logits, torch.full((3,), -1))
    assert domain_metrics(nothing) == {"n": 0} | dict.fromkeys(METRICS)
    assert confusion(nothing).sum() == 0
    assert not len(correct_predictions(nothing))


def test_a_wrong_prediction_of_probability_zero_has_a_finite_likelihood():
    sure = Predictions(torch.zeros(1, 2), torch.tensor([[200.0, -200.0]]), torch.tensor([1]))
    assert domain_metrics(sure)["nll"] == pytest.approx(400.0)


def test_auroc_counts_ties_half():
    assert auroc(np.array([0.5, 0.5]), np.array([True, False])) == 0.5


def test_class_accuracies_of_an_empty_class():
    assert class_accuracies(np.array([[3, 1], [0, 0]])) == [0.75, None]


def test_the_harmonic_mean_takes_the_mean_of_the_sources():
    assert harmonic_mean([0.9, 0.7], 0.5) == pytest.approx(2 * 0.8 * 0.5 / 1.3)
    assert harmonic_mean([0.0], 0.5) == 0.0
    assert harmonic_mean([0.9], None) is None


def test_paired_gain_of_equal_predictions_and_of_none():
    right = np.array([True, False, True])
    assert paired_gain(right, right) == {"gain": 0.0, "interval": [0.0, 0.0], "p_value": 1.0, "n": 3}
    assert paired_gain(right[:0], right[:0])["gain"] is None


def test_paired_gain_covers_the_truth():
    random = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        better, worse = random.random(200) < 0.1, random.random(200) < 0.05
        adapted, plain = better & ~worse, worse & ~better
        low, high = paired_gain(adapted, plain)["interval"]
        hits += low <= 0.1 * 0.95 - 0.05 * 0.9 <= high
    assert 0.92 <= hits / 400 <= 0.98
