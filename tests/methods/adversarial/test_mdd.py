import math

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.mdd import MDD, not_cross_entropy
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier, Output

LATE = Progress(2000, 20_000)
STRENGTH = 0.1 * (2 / (1 + math.exp(-2)) - 1)


def test_loss_equals_the_formula(model: Classifier, batch: DomainBatch) -> None:
    method = MDD(model, 3, trade_off=0.7, margin=3.0).double()
    source, target = model(batch.source.weak), model(batch.target.weak)
    loss = method.transfer(source, target, batch.source.labels, LATE)
    agree = disagree = 0.0
    for features, logits in zip(source.features, source.logits, strict=True):
        p = method.adversary(features).softmax(0)
        agree -= math.log(float(p[int(logits.argmax())])) / 4
    for features, logits in zip(target.features, target.logits, strict=True):
        p = method.adversary(features).softmax(0)
        disagree -= math.log(1 - float(p[int(logits.argmax())])) / 5
    assert float(loss.terms["agreement"].detach()) == pytest.approx(0.7 * 3 * agree)
    assert float(loss.terms["disagreement"].detach()) == pytest.approx(0.7 * disagree)
    assert float(loss.metrics["reversal"]) == pytest.approx(STRENGTH)


def test_the_second_head_minimises_what_the_features_maximise(model: Classifier, batch: DomainBatch) -> None:
    method = MDD(model, 3).double()
    source, target = model(batch.source.weak), model(batch.target.weak)
    total = method.transfer(source, target, batch.source.labels, LATE).total
    weights = [model.backbone[1].weight, *method.adversary.parameters()]
    reversed_, *straight = torch.autograd.grad(total, weights, retain_graph=True)
    assert torch.autograd.grad(total, [model.head.weight], allow_unused=True) == (None,)
    p_s, p_t = method.adversary(source.features).softmax(1), method.adversary(target.features).softmax(1)
    y_s, y_t = source.logits.argmax(1), target.logits.argmax(1)
    plain = -4 * p_s[range(4), y_s].log().mean() - (1 - p_t[range(5), y_t]).log().mean()
    direct, *same = torch.autograd.grad(plain, weights)
    torch.testing.assert_close(reversed_, -STRENGTH * direct)
    torch.testing.assert_close(straight, same)


def test_a_prediction_that_is_certain_in_32_bits_keeps_its_gradient() -> None:
    logits = torch.tensor([[40.0, 0.0, -1.0], [0.0, 200.0, 1.0]], requires_grad=True)
    loss = not_cross_entropy(logits, torch.tensor([0, 1]))
    (gradient,) = torch.autograd.grad(loss, logits)
    exact = (40 - math.log(1 + math.exp(-1)) + 200 - math.log(1 + math.e)) / 2
    assert float(loss.detach()) == pytest.approx(exact, rel=1e-6)
    torch.testing.assert_close(gradient[[0, 1], [0, 1]], torch.tensor([0.5, 0.5]))


def test_ugly_batches_have_a_finite_loss_and_gradient() -> None:
    for num_classes in (1, 2):
        method = MDD(Classifier(nn.Identity(), 6, num_classes), num_classes)
        for scale in (0.0, 1.0, 1e4):
            features = (scale * torch.ones(1, 6)).requires_grad_()
            one = Output(features, torch.zeros(1, num_classes))
            total = method.transfer(one, one, torch.tensor([0]), LATE).total
            (gradient,) = torch.autograd.grad(total, features)
            assert total.isfinite()
            assert gradient.isfinite().all()


def test_with_one_class_there_is_nothing_to_disagree_about() -> None:
    assert float(not_cross_entropy(torch.randn(4, 1), torch.zeros(4).long())) == 0


def test_the_second_head_is_like_the_models_and_its_own(model: Classifier) -> None:
    method = MDD(model, 3).double()
    assert method.adversary.weight.shape == model.head.weight.shape  # type: ignore[union-attr]
    assert not torch.equal(method.adversary.weight, model.head.weight)  # type: ignore[union-attr,arg-type]


def test_the_second_head_learns_to_agree_on_the_source_and_disagree_on_the_target() -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Identity(), 6, 2)
    method = MDD(model, 2)
    optimizer = torch.optim.Adam(method.parameters(), 3e-2)
    for _ in range(100):
        x = [torch.randn(32, 6) + shift * torch.eye(6)[5] for shift in (3.0, -3.0)]  # apart in what no class needs
        source, target = (Output(each, torch.stack([each[:, 0], -each[:, 0]], 1)) for each in x)
        loss = method.transfer(source, target, torch.zeros(32).long(), LATE)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
    agrees = [
        float((method.adversary(o.features).argmax(1) == o.logits.argmax(1)).float().mean()) for o in (source, target)
    ]
    assert agrees[0] > 0.9
    assert agrees[1] < agrees[0]
