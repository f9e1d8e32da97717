"""Minimax entropy and the baseline S+T: their terms in plain loops, and what each phase moves where."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.bounds import SourceAndTarget
from uan_da.methods.method import Progress
from uan_da.methods.semi_supervised.mme import MME
from uan_da.models.classifier import Classifier

HALF = Progress(1, 2)


@pytest.fixture
def given(batch: DomainBatch) -> DomainBatch:
    """The batch with two labelled images of the target."""
    images = torch.randn(2, 3, 2, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    return replace(batch, labelled=DomainImages({"weak": images}, torch.tensor([2, 0]), torch.ones(2).long()))


def classified(model: Classifier, batch: DomainBatch) -> float:
    assert batch.labelled is not None
    total = 0.0
    for side in (batch.source, batch.labelled):
        p = model(side.weak).logits.softmax(1)
        total -= sum(math.log(float(p[i, y].detach())) for i, y in enumerate(side.labels)) / 6
    return total


def test_source_and_target_count_as_one_batch(model: Classifier, given: DomainBatch) -> None:
    loss = SourceAndTarget(model, 3).loss(model, given, HALF)
    assert {name: float(x.detach()) for name, x in loss.terms.items()} == pytest.approx(
        {"labelled": classified(model, given)}
    )


def test_each_phase_has_the_loss_of_the_formula_and_moves_all(model: Classifier, given: DomainBatch) -> None:
    classify, minimax = MME(model, 3, trade_off=0.7).phases(model)
    assert classify.modules == minimax.modules == ()
    p = model(given.target.weak).logits.softmax(1).tolist()
    entropy = -sum(v * math.log(v) for row in p for v in row) / 5
    assert float(classify.loss(model, given, HALF).total.detach()) == pytest.approx(classified(model, given))
    assert float(minimax.loss(model, given, HALF).total.detach()) == pytest.approx(-0.7 * entropy)


def test_the_head_becomes_unsure_of_the_target_and_the_features_sure(model: Classifier, given: DomainBatch) -> None:
    _, minimax = MME(model, 3).phases(model)

    def entropy() -> Tensor:
        return -minimax.loss(model, given, HALF).total.detach()

    for part, sign in ((model.head, 1), (model.backbone, -1)):
        before, moved = entropy(), list(part.parameters())
        for parameter, gradient in zip(
            moved, torch.autograd.grad(minimax.loss(model, given, HALF).total, moved), strict=True
        ):
            parameter.data -= 1e-1 * gradient
        assert sign * float(entropy() - before) > 0
