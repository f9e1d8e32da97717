import math

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.dann import DANN
from uan_da.methods.method import Loss, Progress
from uan_da.models.classifier import Classifier, Output


def transfer(method: DANN, model: Classifier, batch: DomainBatch, part: float) -> Loss:
    progress = Progress(round(1000 * part), 1000)
    return method.transfer(model(batch.source.weak), model(batch.target.weak), batch.source.labels, progress)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 1.0])
def test_loss_equals_the_formula(model: Classifier, batch: DomainBatch, part: float) -> None:
    method = DANN(model, 3, trade_off=0.7).double()
    loss = transfer(method, model, batch, part)
    source, target = model(batch.source.weak), model(batch.target.weak)
    d_s, d_t = method.discriminator(source.features), method.discriminator(target.features)
    domain = -0.5 * (torch.sigmoid(d_s).log().mean() + (1 - torch.sigmoid(d_t)).log().mean())
    assert loss.terms.keys() == {"domain"}
    assert float(loss.terms["domain"].detach()) == pytest.approx(0.7 * float(domain.detach()))
    assert float(loss.metrics["reversal"]) == pytest.approx(2 / (1 + math.exp(-10 * part)) - 1)


@pytest.mark.parametrize("options", [{}, {"reversal_steps": 1000, "reversal_high": 0.3}])
def test_the_discriminator_learns_the_domains_and_the_features_forget_them(
    model: Classifier, batch: DomainBatch, options: dict[str, float]
) -> None:
    method = DANN(model, 3, **options).double()  # type: ignore[arg-type]
    domain = transfer(method, model, batch, 1.0).terms["domain"]
    features, discriminator = list(model.backbone.parameters()), list(method.discriminator.parameters())
    grads = torch.autograd.grad(domain, features + discriminator)
    plain = 0.5 * (
        nn.functional.softplus(-method.discriminator(model(batch.source.weak).features)).mean()
        + nn.functional.softplus(method.discriminator(model(batch.target.weak).features)).mean()
    )
    straight = torch.autograd.grad(plain, features + discriminator)
    strength = 2 / (1 + math.exp(-10)) - 1 if not options else 0.3 * (2 / (1 + math.exp(-1)) - 1)
    for reversed_, direct in zip(grads[: len(features)], straight, strict=False):
        torch.testing.assert_close(reversed_, -strength * direct)
    torch.testing.assert_close(grads[len(features) :], straight[len(features) :])


def test_environment_label_smoothing_reaches_the_loss(model: Classifier, batch: DomainBatch) -> None:
    method = DANN(model, 3, environment_smoothing=0.2).double()
    domain = transfer(method, model, batch, 0.5).terms["domain"]
    d_s, d_t = (method.discriminator(model(side.weak).features) for side in (batch.source, batch.target))
    labels = torch.full_like(d_s, 0.8), torch.full_like(d_t, 0.2)
    bce = nn.functional.binary_cross_entropy_with_logits
    torch.testing.assert_close(domain, 0.5 * (bce(d_s, labels[0]) + bce(d_t, labels[1])))


def test_each_side_counts_half_whatever_the_batch_sizes(model: Classifier, batch: DomainBatch) -> None:
    method = DANN(model, 3).double()
    source, target = model(batch.source.weak), model(batch.target.weak)
    twice = Output(target.features.repeat(2, 1), target.logits.repeat(2, 1))
    one = method.transfer(source, target, batch.source.labels, Progress(1, 2)).terms["domain"]
    two = method.transfer(source, twice, batch.source.labels, Progress(1, 2)).terms["domain"]
    torch.testing.assert_close(one, two)


def test_tllibs_discriminator_can_be_asked_for(model: Classifier, batch: DomainBatch) -> None:
    method = DANN(model, 3, hidden=1024, discriminator_norm=True).double()
    kinds = [type(layer).__name__ for layer in method.discriminator]
    assert kinds == ["Linear", "BatchNorm1d", "ReLU", "Linear", "BatchNorm1d", "ReLU", "Linear"]
    assert method.discriminator[3].in_features == 1024
    assert transfer(method, model, batch, 0.5).total.isfinite()


@pytest.mark.parametrize("norm", [False, True])
def test_a_single_image_a_domain_will_do(model: Classifier, norm: bool) -> None:
    method = DANN(model, 3, discriminator_norm=norm).double()
    one = Output(torch.randn(1, 6).double(), torch.randn(1, 3).double())
    assert method.transfer(one, one, torch.tensor([0]), Progress(0, 1)).total.isfinite()


def test_the_discriminator_learns_features_that_are_told_apart() -> None:
    torch.manual_seed(0)
    method = DANN(Classifier(nn.Identity(), 6, 3), 3)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    accuracies = []
    for step in range(40):
        source, target = (Output(torch.randn(16, 6) + shift, torch.zeros(16, 3)) for shift in (1.0, -1.0))
        loss = method.transfer(source, target, torch.zeros(16).long(), Progress(step, 40))
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        accuracies.append(float(loss.metrics["domain_accuracy"]))
    assert accuracies[0] < 0.8
    assert min(accuracies[-5:]) > 0.9
