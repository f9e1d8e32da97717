"""FixMatch against its formula, written naively, in both routings."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.method import Progress
from uan_da.methods.routing import Routing
from uan_da.methods.self_training.fixmatch import FixMatch
from uan_da.models.classifier import Classifier, Output

HALF = Progress(1, 2)


def logits(model: Classifier, batch: DomainBatch, routing: Routing) -> list[Tensor]:
    """Of target weak, source weak and target strong."""
    images = [batch.target.weak, batch.source.weak, batch.target.strong]
    if routing == "separate":
        return [model(x).logits for x in images]
    output: Output = model(torch.cat(images))
    return list(output.logits.split([9, 6, 9]))


@pytest.mark.parametrize("routing", ["joint", "separate"])
@pytest.mark.parametrize("threshold", [0.0, 0.4, 1.0])
def test_loss_and_gradient_equal_the_formula(
    model: Classifier, batch: DomainBatch, routing: Routing, threshold: float
) -> None:
    method = FixMatch(model, 4, threshold=threshold, trade_off=0.7, routing=routing)
    loss = method.loss(model, batch, HALF)
    weak, source, strong = logits(model, batch, routing)
    probs = weak.softmax(1).tolist()
    kept = [i for i, row in enumerate(probs) if max(row) >= threshold]
    expected = -sum(source[i].log_softmax(0)[y] / 6 for i, y in enumerate(batch.source.labels))
    for i in kept:
        expected = expected - 0.7 / 9 * strong[i].log_softmax(0)[probs[i].index(max(probs[i]))]
    assert 0 < len(kept) < 9 or threshold != 0.4  # this threshold does decide something
    assert float(loss.metrics["mask"]) == pytest.approx(len(kept) / 9)
    torch.testing.assert_close(loss.total, expected)
    parameters = list(model.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss.total, parameters), torch.autograd.grad(expected, parameters))


def test_the_weak_view_gets_no_gradient(model: Classifier, batch: DomainBatch) -> None:
    model.backbone[1] = nn.Identity()  # no batch statistics: nothing else ties the views together
    batch.target.weak.requires_grad_()
    loss = FixMatch(model, 4, threshold=0.0, routing="joint").loss(model, batch, HALF)
    (grad,) = torch.autograd.grad(loss.total, batch.target.weak)
    assert torch.equal(grad, torch.zeros_like(grad))


def test_separate_updates_running_statistics_in_the_documented_order(model: Classifier, batch: DomainBatch) -> None:
    conv, norm = model.backbone[0], model.backbone[1]
    FixMatch(model, 4).loss(model, batch, HALF)
    expected = torch.zeros(5, dtype=torch.float64)
    for images in (batch.target.weak, batch.source.weak, batch.target.strong):
        expected = 0.9 * expected + 0.1 * conv(images).mean((0, 2, 3))
    torch.testing.assert_close(norm.running_mean, expected)
    assert int(norm.num_batches_tracked) == 3


@pytest.mark.parametrize("routing", ["joint", "separate"])
def test_one_image_of_each(
    model: Classifier, routing: Routing, side: Callable[[int, int, Tensor], DomainImages]
) -> None:
    batch = DomainBatch(side(1, 0, torch.tensor([2])), side(1, 1, torch.tensor([-1])))
    loss = FixMatch(model, 4, routing=routing).loss(model, batch, HALF)
    loss.total.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
