"""What looks at features bears those of a network that has collapsed."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from uan_da.evaluation.clusters import Activations, describe_layer
from uan_da.evaluation.evidence import reads
from uan_da.evaluation.importance import importance_weights
from uan_da.evaluation.mixtures import Mixtures
from uan_da.evaluation.predict import Predictions
from uan_da.evaluation.report.figures import embed, have_collapsed
from uan_da.evaluation.shift import class_alignment, label_shift, proxy_a_distance
from uan_da.names import VALIDATORS

N, F, CLASSES = 24, 6, 3


def random() -> Tensor:
    return torch.randn(N, F, generator=torch.Generator().manual_seed(0))


FEATURES = {
    "zero": torch.zeros(N, F),
    "equal": torch.full((N, F), 0.1),
    "equal to rounding": 1 + 1e-8 * random().double(),
    "two points": torch.arange(N).remainder(2).float()[:, None].expand(N, F),
    "one line": random()[:, :1].expand(N, F),
    "one apart": torch.cat([torch.ones(N - 1, F), torch.full((1, F), 1e6)]),
    "one feature": random()[:, :1],
    "tiny": random() * 1e-30,
    "huge": random() * 1e30,
    "two images": random()[:2],
}
COLLAPSED = ("zero", "equal", "equal to rounding")


@pytest.mark.parametrize("name", FEATURES)
def test_tsne(name: str) -> None:
    x = FEATURES[name].numpy()
    assert have_collapsed(x) is (name in COLLAPSED)
    points = embed([x, x])
    if name in (*COLLAPSED, "two images"):
        assert points == []
    else:
        assert [p.shape for p in points] == [(N, 2), (N, 2)]
        assert np.isfinite(points).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_features_that_are_no_numbers_have_no_tsne(bad: float) -> None:
    x = random().numpy()
    x[3, 2] = bad
    assert have_collapsed(x)
    assert embed([x]) == []


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FEATURES)
def test_distances_and_validators_are_finite(name: str) -> None:
    x = FEATURES[name].float()
    sure = 50.0 * torch.eye(CLASSES)[torch.arange(len(x)) % CLASSES]
    for logits in (torch.zeros(len(x), CLASSES), sure):
        predictions = Predictions(x, logits, torch.arange(len(x)) % CLASSES)
        weights = importance_weights(x, x, x)
        torch.testing.assert_close(weights, torch.ones(len(x), dtype=torch.float64), atol=1e-4, rtol=0)
        assert 0 <= (proxy_a_distance(x, x) or 0.0) <= 2
        assert all(ratio is None or math.isfinite(ratio) for ratio in class_alignment(predictions, predictions))
        assert label_shift(predictions.labels, predictions)["total_variation"] == pytest.approx(0, abs=0.3)
        evidence = dict.fromkeys(("target", "source_train", "source_validation"), predictions)
        evidence |= {"importance": weights, "mixtures": Mixtures(predictions, predictions)}
        for validator in VALIDATORS.targets:
            score = VALIDATORS.load(validator)
            assert math.isfinite(float(score(*(evidence[what] for what in reads(score))))), validator


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", FEATURES)
def test_clusters(name: str) -> None:
    x = FEATURES[name].float()
    seen = Activations([torch.full((len(x), 2), 0.5)], [x], [x.abs()])
    labels = np.arange(len(x)) % CLASSES
    report = describe_layer({"a": seen, "b": seen}, {"a": labels, "b": labels}, ["a"])
    assert report["statement"]
    assert all(math.isfinite(c["difference"]) for c in report["channels"])
    assert report["baseline"]["domain"] == pytest.approx(0, abs=1e-9)  # both domains are the same images
