"""The logit of ``unknown``: where it is the greatest, the rule of the paper says so."""

import math

import pytest
import torch
from scipy.stats import entropy

from uan_da.models.classifier import build_model
from uan_da.models.rejection import EntropyRejection
from uan_da.recipe import load_recipe


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_unknown_is_what_has_a_high_entropy(threshold: float) -> None:
    logits = 2 * torch.randn(200, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    unknown = EntropyRejection(threshold)(torch.empty(200, 0), logits)
    strange = entropy(logits.softmax(1).numpy(), axis=1) - threshold * math.log(5)
    torch.testing.assert_close(unknown - logits.amax(1), torch.tensor(strange))
    assert 0 < (unknown > logits.amax(1)).sum() < 200


def test_even_predictions_are_rejected_and_sure_ones_are_not() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0], [90.0, 0.0, 0.0]])
    assert (EntropyRejection()(torch.empty(2, 0), logits) > logits.amax(1)).tolist() == [True, False]
    assert torch.equal(EntropyRejection()(torch.empty(2, 0), torch.ones(2, 1)), torch.ones(2))  # of one class: no more


def test_a_network_predicts_unknown_in_evaluation_alone() -> None:
    """In training it has the classes that it learns, and they are what they were without the rule."""
    recipe = load_recipe("digits-open", ["backbone.width=4"])
    model, images = build_model(recipe, 9), torch.randn(3, 3, 28, 28)
    assert model.num_classes == 8
    assert model.train()(images).logits.shape == (3, 8)
    features, logits = model.eval()(images)
    assert logits.shape == (3, 9)
    torch.testing.assert_close(logits[:, :8], model.head(features))
    model.rejection = None
    assert torch.equal(model(images).logits, logits[:, :8])
