"""OVANet: its terms in plain loops, the rule by which it rejects, and what it moves."""

import math

import pytest
import torch
from torch import Tensor

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Progress
from uan_da.methods.open_set.ovanet import OVANet, one_vs_all_entropy, one_vs_all_loss
from uan_da.models.classifier import Classifier
from uan_da.models.rejection import OneVsAll

HALF = Progress(1, 2)


@pytest.fixture
def network(model: Classifier) -> Classifier:
    torch.manual_seed(3)
    model.rejection = OVANet.rejection(model.num_features, model.num_classes, 0.5).double()
    return model


def random(*shape: int, seed: int = 0) -> Tensor:
    return 3 * torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def log_sigmoid(x: Tensor) -> float:
    return -math.log1p(math.exp(-float(x)))


@pytest.mark.parametrize("classes", [1, 2, 5])
def test_the_source_is_near_its_class_and_far_from_the_hardest_other(classes: int) -> None:
    margins = random(6, classes)
    labels = torch.arange(6) % classes
    total = 0.0
    for d, y in zip(margins, labels.tolist(), strict=True):
        others = [-log_sigmoid(-d[k]) for k in range(classes) if k != y]
        total += 0.5 * (-log_sigmoid(d[y]) + max(others, default=0.0)) / 6
    assert float(one_vs_all_loss(margins, labels)) == pytest.approx(total)


def test_the_target_becomes_sure_of_each_class_or_sure_that_it_is_not() -> None:
    margins = random(4, 3, seed=1)
    total = 0.0
    for d in margins.flatten().tolist():
        p = 1 / (1 + math.exp(-d))
        total -= (p * math.log(p) + (1 - p) * math.log(1 - p)) / 12
    assert float(one_vs_all_entropy(margins)) == pytest.approx(total)


@pytest.mark.parametrize("size", [0.0, 1e3, 1e6])
def test_margins_of_any_size_have_a_finite_loss_and_gradient(size: float) -> None:
    margins = (size * torch.tensor([[1.0, -1.0, 1.0], [-1.0, 1.0, 0.0]])).requires_grad_()
    for loss in (one_vs_all_loss(margins, torch.tensor([1, 0])), one_vs_all_entropy(margins)):
        (gradient,) = torch.autograd.grad(loss, margins)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    assert float(one_vs_all_entropy(torch.zeros(2, 2))) == pytest.approx(math.log(2))


def test_unknown_is_what_is_not_of_its_nearest_class(network: Classifier) -> None:
    """As the authors decide: p(not the predicted class) > ½, of a softmax over the two logits of unit weights."""
    rule = network.rejection
    assert isinstance(rule, OneVsAll)
    features, logits = random(50, 6, seed=2), random(50, 3, seed=3)
    unknown = rule(features, logits)
    rejected = 0
    for g, z, u in zip(features, logits, unknown, strict=True):
        k = int(z.argmax())
        pair = torch.stack([(w[k] / w[k].norm()) @ g for w in (rule.negative.weight, rule.positive.weight)])
        expected = bool(pair.softmax(0)[0] > 0.5)
        assert bool(u > z.max()) is expected
        rejected += expected
    assert 0 < rejected < 50


def test_the_loss_is_the_sum_of_the_formulas_terms_and_moves_all(network: Classifier, batch: DomainBatch) -> None:
    method = OVANet(network, 3, trade_off=0.3)
    loss = method.loss(network, batch, HALF)
    rule = network.rejection
    assert isinstance(rule, OneVsAll)
    source, target = (network(side.weak) for side in (batch.source, batch.target))
    p = source.logits.softmax(1)
    expected = {
        "source": -sum(math.log(float(p[i, y].detach())) for i, y in enumerate(batch.source.labels)) / 4,
        "one_vs_all": float(one_vs_all_loss(rule.margins(source.features), batch.source.labels).detach()),
        "entropy": 0.3 * float(one_vs_all_entropy(rule.margins(target.features)).detach()),
    }
    assert {name: float(value.detach()) for name, value in loss.terms.items()} == pytest.approx(expected)
    (phase,) = method.phases(network)
    assert phase.modules == ()
    for name in ("one_vs_all", "entropy"):
        gradients = torch.autograd.grad(
            loss.terms[name], list(network.parameters()), retain_graph=True, allow_unused=True
        )
        moved = {n for (n, _), g in zip(network.named_parameters(), gradients, strict=True) if g is not None}
        assert moved == {n for n, _ in network.named_parameters() if not n.startswith("head.")}


def test_both_routings_are_one_without_batch_statistics(network: Classifier, batch: DomainBatch) -> None:
    losses = [OVANet(network, 3, routing=routing).loss(network, batch, HALF).total for routing in ("joint", "separate")]
    torch.testing.assert_close(*losses)
