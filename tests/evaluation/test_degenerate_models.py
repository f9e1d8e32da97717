"""What each validator says of a perfect, a collapsed, a uniform and a random model: the table of docs/evaluation.md.

The right predictions are closed forms of the numbers of images N and classes C, written here without the validators'
code.
"""

from math import inf, log, sqrt

import pytest
import torch

from uan_da.evaluation.evidence import reads
from uan_da.evaluation.mixtures import Mixtures, pairs
from uan_da.evaluation.predict import Predictions
from uan_da.names import VALIDATORS

C, N = 10, 1000
TOP = C**-0.25
"""Fourth root of the mean of (1, 0, …, 0)⁴."""
LOGIT = 50.0
SAME_CORNER = (N / C - 1) / (2 * N / C - 1)
"""Of the other images on an image's corner, half of which are the target's, the part of its own domain."""

SCORES: dict[str, tuple[float, float, float, tuple[float, float]]] = {
    # perfect, collapsed, uniform, and the ends between which a random model is
    "information_maximization": (log(C), 0.0, 0.0, (log(C) - 0.01, log(C))),
    "entropy": (0.0, 0.0, -log(C), (-0.001, 0.001)),
    "diversity": (log(C), 0.0, log(C), (log(C) - 0.01, log(C))),
    "bnm": (sqrt(C / N), sqrt(1 / N), sqrt(1 / (N * C)), (0.99 * sqrt(C / N), sqrt(C / N))),
    "snd": (log(N / C - 1), log(N - 1), log(N - 1), (log(N / C - 1) - 0.01, log(N / C - 1) + 0.01)),
    "class_clustering": (1.0, -1.0, -1.0, (-0.1, 0.0)),
    "class_ami": (1.0, 0.0, 0.0, (-0.02, 0.02)),
    "mano": (TOP, TOP, 0.0, (TOP - 0.001, TOP + 0.001)),
    "rankme": (C, 1.0, C, (C - 0.01, C + 0.01)),
    "circular": (1.0, 1 / C, 1 / C, (0.0, 0.4)),  # a corner is taught one class: one of ten is right by chance
    "mixval": (1.0, 0.5, 0.5, (0.05, 0.15)),
    "nearest_source": (1.0, 1 / C, 1 / C, (0.07, 0.13)),
    "knn": (-SAME_CORNER, -(N - 1) / (2 * N - 1), -SAME_CORNER, (-SAME_CORNER, -SAME_CORNER)),
    "source_accuracy": (1.0, 1 / C, 1 / C, (0.07, 0.13)),
    "importance_weighted": (0.0, 1 / C - 1, 1 / C - 1, (-0.93, -0.87)),
    "dev": (0.0, -LOGIT * (1 - 1 / C), -log(C), (-0.93 * LOGIT, -0.87 * LOGIT)),
}


def models() -> dict[str, Predictions]:
    """Predictions on N images, C classes alike often. Features are the class's corner, but the collapsed model's, which
    are one point; it gives class 0 to all. The random one is sure of a class that no image decides."""
    labels, sure = torch.arange(N) % C, LOGIT * torch.eye(C)
    corners = torch.eye(C)[labels]
    drawn = torch.randint(C, (N,), generator=torch.Generator().manual_seed(0))
    return {
        "perfect": Predictions(corners, sure[labels], labels),
        "collapsed": Predictions(torch.ones(N, C), sure[[0]].repeat(N, 1), labels),
        "uniform": Predictions(corners, torch.zeros(N, C), labels),
        "random": Predictions(corners, sure[drawn], labels),
    }


def score(name: str, model: str) -> float:
    validator, predictions = VALIDATORS.load(name), models()[model]
    given = dict.fromkeys(("target", "source_train", "source_validation"), predictions)
    given |= {"importance": torch.ones(N, dtype=torch.float64), "mixtures": mixtures(model, predictions)}
    return float(validator(*(given[part] for part in reads(validator))))


def mixtures(model: str, predictions: Predictions) -> Mixtures:
    """The random model draws a class for a mixture too; the others give that of its greater part."""
    random, parts = torch.Generator().manual_seed(1), []
    for first, _ in pairs(predictions.classes):
        drawn = torch.randint(C, (len(first),), generator=random)
        classes = drawn if model == "random" else predictions.classes[first]
        parts.append(
            Predictions(predictions.features[first], LOGIT * torch.eye(C)[classes], predictions.classes[first])
        )
    return Mixtures(*parts)


def test_no_validator_is_forgotten():
    assert list(SCORES) == list(VALIDATORS.targets)


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("model", ["perfect", "collapsed", "uniform", "random"])
def test_the_table(name, model):
    perfect, collapsed, uniform, (low, high) = SCORES[name]
    ends = {"perfect": (perfect,) * 2, "collapsed": (collapsed,) * 2, "uniform": (uniform,) * 2, "random": (low, high)}
    low, high = ends[model]
    assert low - 1e-3 <= score(name, model) <= high + 1e-3


@pytest.mark.parametrize(
    "name",
    ["information_maximization", "bnm", "class_clustering", "class_ami", "circular", "mixval", "nearest_source", "dev"],
)
def test_a_collapsed_model_is_no_validators_best(name):
    assert score(name, "collapsed") < score(name, "perfect") - 0.01


def test_class_ami_is_zero_for_a_collapsed_model_whose_features_still_cluster():
    perfect = models()["perfect"]
    collapsed = Predictions(perfect.features, LOGIT * torch.eye(C)[[0]].repeat(N, 1), perfect.labels)
    assert VALIDATORS.load("class_ami")(collapsed) == 0.0


def test_class_ami_counts_the_classes_that_are_never_predicted():
    """Two of ten classes predicted, over ten clusters: I(U; V) is H(predicted), H(clusters) is log 10.

    k-means starts eight clusters at the origin. How images are equally far from it is a matter of rounding, and on some
    processors two classes end up in one cluster and one image alone in another: 0.02 more.
    """
    perfect = models()["perfect"]
    two = Predictions(perfect.features, LOGIT * torch.eye(C)[perfect.labels // 5], perfect.labels)
    found = VALIDATORS.load("class_ami")(two)
    unadjusted = log(2) / ((log(2) + log(C)) / 2)
    assert found == pytest.approx(unadjusted, abs=0.03)
    assert -inf < found < 0.5
