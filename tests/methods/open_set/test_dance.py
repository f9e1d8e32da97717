"""DANCE: its terms in plain loops, its memory, and what it moves."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Progress
from uan_da.methods.open_set.dance import DANCE, separation, similarities
from uan_da.models.classifier import Classifier

HALF = Progress(1, 2)
IMAGES, T = 9, 0.4


@pytest.fixture
def method(model: Classifier) -> DANCE:
    made = DANCE(model, 3, trade_off=0.7, margin=0.2, temperature=T)
    made.prepare(model, IMAGES)
    random = torch.Generator().manual_seed(4)
    made.memory.copy_(torch.nn.functional.normalize(torch.randn(IMAGES, 6, dtype=torch.float64, generator=random)))
    return made


@pytest.fixture
def indexed(batch: DomainBatch) -> DomainBatch:
    return replace(batch, target=replace(batch.target, index=torch.tensor([7, 0, 2, 5, 8])))


def entropy_of(weights: list[float]) -> float:
    return -sum(w / sum(weights) * math.log(w / sum(weights)) for w in weights)


def test_the_loss_is_that_of_the_formula(method: DANCE, model: Classifier, indexed: DomainBatch) -> None:
    features, logits = model(indexed.target.weak)
    unit = [(g / g.norm()).detach() for g in features]
    neighbourhood = apart = 0.0
    for i, z in enumerate(logits.detach().tolist()):
        to_memory = [
            -1 / T if n in indexed.target.index.tolist() else float(unit[i] @ method.memory[n]) / T
            for n in range(IMAGES)
        ]
        to_batch = [-1 / T if j == i else float(unit[i] @ unit[j]) / T for j in range(5)]
        neighbourhood += entropy_of([math.exp(v) for v in [*z, *to_memory, *to_batch]]) / 5
        apart += max(abs(entropy_of([math.exp(v) for v in z]) - 0.5 * math.log(3)), 0.2) / 5
    terms = method.loss(model, indexed, HALF).terms
    p = model(indexed.source.weak).logits.softmax(1)
    expected = {
        "source": -sum(math.log(float(p[i, y].detach())) for i, y in enumerate(indexed.source.labels)) / 4,
        "neighbourhood": 0.7 * neighbourhood,
        "separation": -0.7 * apart,
    }
    assert {name: float(value.detach()) for name, value in terms.items()} == pytest.approx(expected)


def test_the_gradient_is_that_of_the_loss(method: DANCE, model: Classifier, indexed: DomainBatch) -> None:
    """By finite differences: the memory is a constant, the batch is not."""

    def of_features(features: Tensor) -> Tensor:
        unit = torch.nn.functional.normalize(features)
        return similarities(unit, method.memory, indexed.target.index, T)

    features = torch.randn(5, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(5), requires_grad=True)
    assert torch.autograd.gradcheck(of_features, features)


def test_entropies_near_the_border_are_left_alone_and_others_move_away() -> None:
    entropies = torch.tensor([0.0, 0.9, 1.1, 2.0], requires_grad=True)
    (gradient,) = torch.autograd.grad(separation(entropies, 1.0, 0.5), entropies)
    torch.testing.assert_close(gradient, torch.tensor([0.25, 0.0, 0.0, -0.25]))  # descent: down below, up above


def test_the_memory_has_the_newest_features_once_the_step_is_made(
    method: DANCE, model: Classifier, indexed: DomainBatch
) -> None:
    before = method.memory.clone()
    method.loss(model, indexed, HALF).total.backward()
    assert torch.equal(method.memory, before)
    expected = torch.nn.functional.normalize(model(indexed.target.weak).features).detach()
    method.after_step(model)
    torch.testing.assert_close(method.memory[indexed.target.index], expected)
    others = torch.tensor([1, 3, 4, 6])
    assert torch.equal(method.memory[others], before[others])
    assert not method.memory.requires_grad


def test_it_moves_the_whole_network_and_has_nothing_of_its_own(
    method: DANCE, model: Classifier, indexed: DomainBatch
) -> None:
    (phase,) = method.phases(model)
    assert phase.modules == ()
    assert not list(method.parameters())
    for name in ("neighbourhood", "separation"):
        loss = method.loss(model, indexed, HALF)
        assert all(g.abs().sum() > 0 for g in torch.autograd.grad(loss.terms[name], list(model.parameters())))


def test_one_image_and_one_class_have_a_finite_loss() -> None:
    unit = torch.nn.functional.normalize(torch.ones(1, 3)).requires_grad_()
    found = similarities(unit, torch.zeros(1, 3), torch.tensor([0]), 0.05)
    assert torch.equal(found, torch.full((1, 2), -20.0))
    assert torch.autograd.grad(found.sum(), unit)[0].isfinite().all()
    assert DANCE(Classifier(torch.nn.Flatten(), 3, 1), 1).border == 0
