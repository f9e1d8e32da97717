import pytest
import torch
from torch import nn

from uan_da.data.images import Images
from uan_da.evaluation.mixtures import SHARE, MixedImages, pairs, predict_mixtures
from uan_da.evaluation.predict import Predictions, predict
from uan_da.models.classifier import Classifier
from uan_da.recipe.network import Input

INPUT = Input(size=4, channels=1, mean=0.5, std=0.25)


def test_pairs_are_within_a_class_or_between_two():
    given = torch.tensor([0] * 20 + [1] * 7 + [2] * 3 + [3])
    (first, second), (one, other) = pairs(given)
    assert torch.equal(given[first], given[second])
    assert (first != second).all()
    assert first.tolist() == list(range(30))  # the only image of class 3 has no partner
    assert sorted(second.tolist()) == list(range(30))
    assert (given[one] != given[other]).all()
    assert len(one) > 5
    again = pairs(given)
    assert torch.equal(again[0][1], second)
    assert torch.equal(again[1][1], other)


@pytest.mark.parametrize("given", [[0] * 5, [0], [0, 1], [0, 1, 2]])
def test_pairs_of_few_images(given):
    (first, second), (one, other) = pairs(torch.tensor(given))
    assert (len(first), len(one)) == ((5, 0) if len(given) == 5 else (0, len(given) * (len(given) > 1)))
    assert len(first) == len(second)
    assert len(one) == len(other)


def test_a_mixture_is_the_weighted_sum_of_what_the_network_sees():
    pixels = torch.randint(256, (6, 1, 4, 4), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    images = Images(pixels, torch.full((6,), -1))
    first, second = torch.tensor([0, 1, 2]), torch.tensor([5, 4, 3])
    model = Classifier(nn.Flatten(), 16, 3)
    mixed = predict(model, MixedImages(images, first, second, torch.tensor([2, 1, 0])), INPUT, 0)
    alone = predict(model, images, INPUT, 0)
    torch.testing.assert_close(mixed.features, SHARE * alone.features[first] + (1 - SHARE) * alone.features[second])
    assert mixed.labels.tolist() == [2, 1, 0]


def test_a_mixture_is_labelled_by_its_greater_part():
    images = Images(torch.zeros(4, 1, 4, 4, dtype=torch.uint8), torch.full((4,), -1))
    logits = torch.eye(3)[[0, 0, 1, 2]]
    model, predictions = Classifier(nn.Flatten(), 16, 3), Predictions(logits, logits, images.labels)
    found = predict_mixtures(model, images, INPUT, 0, predictions)
    assert found.within.labels.tolist() == [0, 0]
    assert set(found.between.labels.tolist()) <= {0, 1, 2}
    one_class = Predictions(logits, logits[[0] * 4], images.labels)
    assert len(predict_mixtures(model, images, INPUT, 0, one_class).between) == 0
