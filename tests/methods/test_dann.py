import math

import pytest
import torch
from torch import nn

from uan_da.data.batch import DomainBatch, DomainImages
from uan_da.methods.dann import DANN, reverse_gradient
from uan_da.models.classifier import Classifier


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh()), 6, 3).double()


@pytest.fixture
def batch() -> DomainBatch:
    torch.manual_seed(1)
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.randn(5, 3, 2, 2, dtype=torch.float64)
    source = DomainImages({"weak": x[0]}, torch.randint(3, (4,)), torch.zeros(4, dtype=torch.long))
    return DomainBatch(source, DomainImages({"weak": x[1]}, torch.full((5,), -1), torch.ones(5, dtype=torch.long)))


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
def test_reversal_is_the_identity_forward_and_negative_backward(strength: float) -> None:
    x = torch.randn(5, requires_grad=True)
    y = reverse_gradient(x, strength)
    assert torch.equal(y, x)
    y.backward(torch.ones(5))
    torch.testing.assert_close(x.grad, torch.full((5,), -strength))


@pytest.mark.parametrize("progress", [0.0, 0.1, 0.5, 1.0])
def test_loss_equals_the_formula(model: Classifier, batch: DomainBatch, progress: float) -> None:
    method = DANN(model, 3, trade_off=0.7).double()
    loss = method.loss(model, batch, progress)
    source, target = model(batch.source.weak), model(batch.target.weak)
    d_s, d_t = method.discriminator(source.features), method.discriminator(target.features)
    p = source.logits.softmax(1)
    classify = -sum(math.log(float(p[i, y])) for i, y in enumerate(batch.source.labels)) / 4
    domain = -0.5 * (torch.sigmoid(d_s).log().mean() + (1 - torch.sigmoid(d_t)).log().mean())
    assert float(loss.terms["source"].detach()) == pytest.approx(classify)
    assert float(loss.terms["domain"].detach()) == pytest.approx(0.7 * float(domain))
    assert float(loss.metrics["reversal"]) == pytest.approx(2 / (1 + math.exp(-10 * progress)) - 1)


def test_the_discriminator_learns_the_domains_and_the_features_forget_them(
    model: Classifier, batch: DomainBatch
) -> None:
    method = DANN(model, 3).double()
    domain = method.loss(model, batch, 1.0).terms["domain"]
    features, discriminator = list(model.backbone.parameters()), list(method.discriminator.parameters())
    grads = torch.autograd.grad(domain, features + discriminator)
    plain = 0.5 * (
        nn.functional.softplus(-method.discriminator(model(batch.source.weak).features)).mean()
        + nn.functional.softplus(method.discriminator(model(batch.target.weak).features)).mean()
    )
    straight = torch.autograd.grad(plain, features + discriminator)
    strength = 2 / (1 + math.exp(-10)) - 1
    for reversed_, direct in zip(grads[: len(features)], straight, strict=False):
        torch.testing.assert_close(reversed_, -strength * direct)
    torch.testing.assert_close(grads[len(features) :], straight[len(features) :])


@pytest.mark.parametrize(("routing", "batches"), [("joint", 1), ("separate", 2)])
def test_routing_decides_which_statistics_are_shared(routing: str, batches: int) -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    model = Classifier(nn.Sequential(norm, nn.Flatten()), 12, 3)
    source = DomainImages({"weak": torch.randn(4, 3, 2, 2)}, torch.zeros(4, dtype=torch.long), torch.zeros(4).long())
    target = DomainImages({"weak": torch.randn(4, 3, 2, 2) + 9}, torch.full((4,), -1), torch.ones(4).long())
    method = DANN(model, 3, routing=routing)  # type: ignore[arg-type]
    method.loss(model, DomainBatch(source, target), 0.5)
    assert int(norm.num_batches_tracked) == batches


def test_each_side_counts_half_whatever_the_batch_sizes(model: Classifier, batch: DomainBatch) -> None:
    method = DANN(model, 3).double()
    twice = DomainImages(
        {"weak": batch.target.weak.repeat(2, 1, 1, 1)}, batch.target.labels.repeat(2), batch.target.domain.repeat(2)
    )
    one = method.loss(model, batch, 0.5).terms["domain"]
    two = method.loss(model, DomainBatch(batch.source, twice), 0.5).terms["domain"]
    torch.testing.assert_close(one, two)
