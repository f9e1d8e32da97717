import pytest
import torch
from torch import nn

from uan_da.data.batch import DomainBatch
from uan_da.methods.adversarial.two_heads import forward_both
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier


@pytest.mark.parametrize("routing", ["joint", "separate"])
def test_both_heads_answer_for_each_side(model: Classifier, batch: DomainBatch, routing: Routing) -> None:
    second = model.new_head().double()
    sides = [batch.source, batch.target]
    for side, (own, other) in zip(sides, forward_both(model, second, sides, routing), strict=True):
        features, logits = model(side.weak)
        torch.testing.assert_close((own, other), (logits, second(features)))


@pytest.mark.parametrize(("routing", "batches"), [("joint", 1), ("separate", 2)])
def test_both_heads_see_the_same_batches(model: Classifier, batch: DomainBatch, routing: Routing, batches: int) -> None:
    norms = [nn.BatchNorm1d(6), nn.BatchNorm1d(6)]
    model.head, second = (nn.Sequential(norm, nn.Linear(6, 3)).double() for norm in norms)
    for own, other in forward_both(model, second, [batch.source, batch.target], routing):
        assert own.shape == other.shape
    assert [int(norm.num_batches_tracked) for norm in norms] == [batches, batches]
    torch.testing.assert_close(norms[0].running_mean, norms[1].running_mean)
