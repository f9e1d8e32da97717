"""Routing: what source and target share of a forward, with one head or two."""

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.routing import Routing, forward, forward_both
from uan_da.models.classifier import Classifier


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.BatchNorm2d(3, affine=False), nn.Flatten()), 12, 2).double().train()


def test_joint_shares_batch_statistics_and_separate_does_not() -> None:
    a, b = torch.randn(4, 3, 2, 2).double(), torch.randn(6, 3, 2, 2).double() + 5
    domains = [torch.zeros(4).long(), torch.ones(6).long()]
    net = classifier()
    joint = forward(net, [a, b], domains, "joint")
    whole = net(torch.cat([a, b]))
    torch.testing.assert_close(torch.cat([output.logits for output in joint]), whole.logits)
    assert [len(output.features) for output in joint] == [4, 6]
    separate = forward(net, [a, b], domains, "separate")
    torch.testing.assert_close(separate[0].features, net(a).features)
    torch.testing.assert_close(separate[1].features, net(b).features)
    assert float(separate[1].features.mean().abs()) < 1e-6 < float(joint[1].features.mean())


@pytest.mark.parametrize("routing", ["joint", "separate"])
def test_both_heads_predict_for_each_side(model: Classifier, batch: DomainBatch, routing: Routing) -> None:
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
