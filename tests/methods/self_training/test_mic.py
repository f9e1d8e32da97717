"""MIC: its term, its masks and its teacher."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Progress
from uan_da.methods.self_training.mic import MIC
from uan_da.models.classifier import Classifier
from uan_da.recipe import load_recipe
from uan_da.training.training import Training

NOW = Progress(3, 8)


def moved(model: Classifier) -> None:
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))


def terms(method: MIC, model: Classifier, batch: DomainBatch) -> Loss:
    return method.terms(model, batch, model(batch.source.weak), model(batch.target.weak), NOW)


@pytest.mark.parametrize("weighted", [True, False])
def test_the_term_is_that_of_the_formula(model: Classifier, batch: DomainBatch, weighted: bool) -> None:
    method = MIC(model, 3, trade_off=0.7, ratio=0.5, grid=2, weighted=weighted)
    moved(model)
    x = batch.target.weak
    q = method.teacher(x).logits.softmax(1)
    masked = model(x * method._mask(x, NOW.step)).logits.log_softmax(1)
    expected = 0.0
    for i, row in enumerate(q.tolist()):
        label = row.index(max(row))
        expected -= 0.7 / len(x) * (max(row) if weighted else 1.0) * float(masked[i, label].detach())
    term = terms(method, model, batch).terms["masked"]
    assert float(term.detach()) == pytest.approx(expected)
    term.backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    assert all(parameter.grad is None for parameter in method.teacher.parameters())


def test_masks_are_whole_blocks_of_a_part_of_the_image() -> None:
    method = MIC(Classifier(nn.Flatten(), 3 * 24 * 24, 3), 3, ratio=0.7, grid=4)
    images = torch.ones(200, 3, 24, 24)
    mask = method._mask(images, 5)
    blocks = mask[:, 0, ::6, ::6]
    assert torch.equal(mask, blocks[:, None].repeat_interleave(6, 2).repeat_interleave(6, 3))
    assert mask.unique().tolist() == [0, 1]
    assert float(1 - mask.mean()) == pytest.approx(0.7, abs=0.03)
    assert not torch.equal(mask[0], mask[1])
    assert torch.equal(mask, method._mask(images, 5))
    assert not torch.equal(mask, method._mask(images, 6))
    assert method._mask(torch.ones(2, 1, 3, 3), 0).shape == (2, 1, 3, 3)  # more blocks than pixels


def test_the_teacher_follows_the_weights_and_nothing_else_moves_it(batch: DomainBatch) -> None:
    torch.manual_seed(0)
    layers = nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(0.5)
    model = Classifier(nn.Sequential(*layers), batch.target.weak[0].numel(), 4).double()
    method = MIC(model, 4, decay=0.9)
    method.start(model)
    for step in range(1, 13):
        old = [parameter.clone() for parameter in method.teacher.parameters()]
        moved(model)
        loss = terms(method, model, batch)
        again = terms(method, model, batch)
        assert torch.equal(loss.metrics["confidence"], again.metrics["confidence"])  # no dropout
        assert all(map(torch.equal, old, method.teacher.parameters()))
        method.after_step(model)
        keep = min(1 - 1 / (step + 1), 0.9)
        for before, slow, fast in zip(old, method.teacher.parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(slow, keep * before + (1 - keep) * fast)
    assert torch.equal(method.teacher.backbone[0].running_mean, model.backbone[0].running_mean)
    assert method.predictor(model) is model


def test_it_joins_cdan_with_mcc_and_sdat() -> None:
    """Its term is in the loss and in the task loss; both passes have one mask."""
    added = ["method=cdan", "method.then=[mcc, mic]", "method.sdat_radius=0.02"]
    small = ["norm=bn", "backbone.width=4", "input.size=16", "train.batch.source=8", "train.batch.target=8"]
    training = Training.build(load_recipe("digits", [*added, *small]), torch.device("cpu"))
    (phase,) = training.method.phases(training.model)
    batch = training.batch(0)
    assert phase.ascent is not None
    whole, task = (of(training.model.eval(), batch, NOW).terms for of in (phase.loss, phase.ascent.loss))
    assert whole.keys() - task.keys() == {"domain"}
    torch.testing.assert_close(whole["masked"], task["masked"])
    training.advance()
    assert training.sums["masked"] > 0


def test_a_mask_of_nothing_leaves_the_images(model: Classifier, batch: DomainBatch) -> None:
    method = MIC(model, 3, ratio=0.0, weighted=False)
    logits = model(batch.target.weak).logits
    torch.testing.assert_close(
        terms(method, model, batch).terms["masked"], F.cross_entropy(logits, logits.argmax(1)), check_dtype=False
    )
