import numpy as np
import pytest
import torch

from uan_da.evaluation.predict import Predictions
from uan_da.evaluation.shift import class_alignment, estimate_shares, label_shift, proxy_a_distance


def cloud(seed: int, n: int = 200, at: float = 0.0) -> torch.Tensor:
    return torch.randn(n, 4, generator=torch.Generator().manual_seed(seed)) + at


def test_a_distance_is_small_for_one_distribution_and_two_for_separate_ones():
    near, far = proxy_a_distance(cloud(0), cloud(1)), proxy_a_distance(cloud(0), cloud(1, at=8.0))
    assert near is not None
    assert near < 0.3
    assert far == pytest.approx(2.0)


def test_a_distance_is_that_of_the_best_linear_error():
    found = proxy_a_distance(cloud(0, 4000), cloud(1, 4000, at=0.5))
    error = 0.3085  # Φ(−½‖μ‖) with ‖μ‖ = ½·√4 = 1
    assert found == pytest.approx(2 * (1 - 2 * error), abs=0.12)


def test_a_distance_does_not_count_a_larger_domain_more():
    assert proxy_a_distance(cloud(0, 1000), cloud(1, 40)) == pytest.approx(0.0, abs=0.8)
    assert proxy_a_distance(cloud(0, 1), cloud(1, 40)) is None


def of(features: torch.Tensor, labels: list[int], classes: int = 3) -> Predictions:
    return Predictions(features, torch.zeros(len(labels), classes), torch.tensor(labels))


def test_alignment_is_the_distance_over_that_to_the_nearest_other_class():
    source = of(torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 8.0]]), [0, 1, 2])
    target = of(torch.tensor([[1.0, 0.0], [1.0, 0.0]]), [0, 1])
    assert class_alignment(source, target) == [pytest.approx(1 / 3), pytest.approx(3.0), None]


def test_alignment_without_labels_or_other_classes():
    source = of(torch.zeros(2, 2), [0, 0], classes=1)
    assert class_alignment(source, of(torch.zeros(1, 2), [0], classes=1)) == [None]
    assert class_alignment(of(torch.zeros(2, 2), [0, 1]), of(torch.zeros(1, 2), [-1])) == [None] * 3


def test_shares_are_found_by_em_where_the_classifier_is_calibrated():
    random = np.random.default_rng(0)
    true, source = np.array([0.8, 0.2]), np.array([0.5, 0.5])
    labels = random.choice(2, 5000, p=true)
    x = random.normal(labels * 2.0, 1.0)
    odds = np.exp(2.0 * x - 2.0)  # N(2, 1)/N(0, 1), equal shares: the source's posterior
    p = np.stack([1 / (1 + odds), odds / (1 + odds)], 1)
    assert p.mean(0)[0] < 0.77  # plain counting is wrong
    assert estimate_shares(source, p) == pytest.approx(true, abs=0.015)


def test_shares_of_a_perfect_classifier_are_counts():
    p = np.eye(3)[[0, 0, 0, 1]]
    assert estimate_shares(np.array([1 / 3] * 3), p) == pytest.approx([0.75, 0.25, 0.0], abs=1e-6)
    assert estimate_shares(np.array([0.5, 0.5, 0.0]), p) == pytest.approx([0.75, 0.25, 0.0], abs=1e-6)


def test_label_shift_compares_with_the_truth_where_it_is_known():
    target = Predictions(torch.zeros(4, 2), 50 * torch.eye(2)[[0, 0, 0, 1]], torch.tensor([0, 0, -1, -1]))
    found = label_shift(torch.tensor([0, 1]), target)
    assert found["source"] == [0.5, 0.5]
    assert found["estimated"] == pytest.approx([0.75, 0.25], abs=1e-6)
    assert found["true"] == [1.0, 0.0]
    assert found["total_variation"] == pytest.approx(0.25, abs=1e-6)
    unlabelled = Predictions(target.features, target.logits, torch.full((4,), -1))
    assert label_shift(torch.tensor([0, 1]), unlabelled)["true"] is None
