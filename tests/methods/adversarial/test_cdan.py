import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.cdan import CDAN, OuterProduct, RandomizedMap
from uan_da.methods.method import Loss, Progress
from uan_da.models.classifier import Classifier, Output

HALF = Progress(1, 2)
STRENGTH = 2 / (1 + math.exp(-5)) - 1


def outputs(model: Classifier, batch: DomainBatch) -> list[Output]:
    return [model(batch.source.weak), model(batch.target.weak)]


def transfer(method: CDAN, model: Classifier, batch: DomainBatch) -> Loss:
    return method.transfer(*outputs(model, batch), batch.source.labels, HALF)


def outer(features: Tensor, probabilities: Tensor) -> Tensor:
    pairs = zip(features.tolist(), probabilities.tolist(), strict=True)
    rows = [[f * p for f in row for p in q] for row, q in pairs]
    return torch.tensor(rows, dtype=features.dtype)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("weighting", [False, True])
def test_loss_equals_the_formula(model: Classifier, batch: DomainBatch, weighting: bool, smoothing: float) -> None:
    options = {"entropy_weighting": weighting, "environment_smoothing": smoothing}
    method = CDAN(model, 3, trade_off=0.7, discriminator_norm=False, **options).double()  # type: ignore[arg-type]
    loss = transfer(method, model, batch)
    expected = 0.0
    for output, sign in zip(outputs(model, batch), (1, -1), strict=True):
        p = output.logits.detach().softmax(1)
        weights = [1 + math.exp(sum(float(v) * math.log(float(v)) for v in row)) if weighting else 1.0 for row in p]
        d = method.discriminator(outer(output.features.detach(), p)).squeeze(1)
        right = [1 / (1 + math.exp(-sign * float(v))) for v in d.detach()]
        losses = [-(1 - smoothing) * math.log(q) - smoothing * math.log(1 - q) for q in right]
        expected += 0.5 * sum(w * e for w, e in zip(weights, losses, strict=True)) / sum(weights)
    assert float(loss.terms["domain"].detach()) == pytest.approx(0.7 * expected)


def test_features_get_the_reversed_gradient_and_the_classifier_none(model: Classifier, batch: DomainBatch) -> None:
    method = CDAN(model, 3).double()
    domain = transfer(method, model, batch).terms["domain"]
    inputs = [model.backbone[1].weight, *method.discriminator.parameters()]
    reversed_, *straight = torch.autograd.grad(domain, inputs, retain_graph=True)
    assert torch.autograd.grad(domain, [model.head.weight], allow_unused=True) == (None,)
    source, target = outputs(model, batch)
    joined = [
        torch.stack(
            [torch.outer(f, p).flatten() for f, p in zip(o.features, o.logits.detach().softmax(1), strict=True)]
        )
        for o in (source, target)
    ]
    d = method.discriminator(torch.cat(joined)).squeeze(1)
    plain = 0.5 * (nn.functional.softplus(-d[:4]).mean() + nn.functional.softplus(d[4:]).mean())
    direct, *same = torch.autograd.grad(plain, inputs)
    torch.testing.assert_close(reversed_, -STRENGTH * direct)
    torch.testing.assert_close(straight, same)


def test_the_gradient_of_the_weights_makes_sure_of_what_fools_the_discriminator(
    model: Classifier, batch: DomainBatch
) -> None:
    method = CDAN(model, 3, entropy_weighting=True, discriminator_norm=False).double()
    logits = [output.logits.detach().requires_grad_() for output in outputs(model, batch)]
    features = [output.features.detach() for output in outputs(model, batch)]
    joined = [Output(f, z) for f, z in zip(features, logits, strict=True)]
    domain = method.transfer(*joined, batch.source.labels, HALF).terms["domain"]
    grads = torch.autograd.grad(domain, logits)

    plain = torch.zeros((), dtype=torch.float64)  # without the reversal, and with constant divisors
    for f, z, sign in zip(features, logits, (1, -1), strict=True):
        p = z.softmax(1)
        weight = 1 + (p * p.log()).sum(1).exp()
        d = method.discriminator(outer(f, p)).squeeze(1).detach()
        plain = plain + 0.5 * (weight / weight.sum().detach() * nn.functional.softplus(-sign * d)).sum()
    for grad, direct in zip(grads, torch.autograd.grad(plain, logits), strict=True):
        torch.testing.assert_close(grad, -STRENGTH * direct)


def test_outer_product_is_every_product() -> None:
    features, p = torch.randn(4, 5), torch.randn(4, 3).softmax(1)
    torch.testing.assert_close(OuterProduct()(features, p), outer(features, p))


def test_the_random_map_keeps_inner_products_on_average_and_is_drawn_once() -> None:
    torch.manual_seed(0)
    features, p = torch.randn(2, 5, dtype=torch.float64), torch.randn(2, 3, dtype=torch.float64).softmax(1)
    random = RandomizedMap(5, 3, 200_000).double()
    mapped = random(features, p)
    exact = (features @ features.T) * (p @ p.T)
    torch.testing.assert_close(mapped @ mapped.T, exact, rtol=0.05, atol=0.02)
    assert torch.equal(random(features, p), mapped)
    assert set(random.state_dict()) == {"features", "classes"}
    assert not list(random.parameters())
    width = random.features.shape[1]
    by_hand = float(features[0] @ random.features[:, 7]) * float(p[0] @ random.classes[:, 7]) / math.sqrt(width)
    assert float(mapped[0, 7]) == pytest.approx(by_hand)


@pytest.mark.parametrize(
    ("multilinear", "num_features", "expected"),
    [
        ("auto", 1365, 4095),
        ("auto", 1366, 1024),
        ("outer", 1366, 4098),
        ("random", 6, 1024),
    ],
)
def test_the_map_is_random_where_the_outer_product_is_too_large(
    multilinear: Any, num_features: int, expected: int
) -> None:
    method = CDAN(Classifier(nn.Identity(), num_features, 3), 3, multilinear=multilinear, hidden=2)
    assert method.discriminator[0].in_features == expected
    one = Output(torch.randn(1, num_features), torch.randn(1, 3))
    assert method.transfer(one, one, torch.tensor([0]), HALF).total.isfinite()


@pytest.mark.parametrize("weighting", [False, True])
@pytest.mark.parametrize("multilinear", ["outer", "random"])
def test_ugly_batches_have_a_finite_loss_and_gradient(weighting: bool, multilinear: Any) -> None:
    for num_classes, scale in ((1, 1.0), (3, 0.0), (3, 1e4)):
        method = CDAN(
            Classifier(nn.Identity(), 6, num_classes),
            num_classes,
            entropy_weighting=weighting,
            multilinear=multilinear,
            discriminator_norm=False,
        )
        features, logits = torch.ones(1, 6, requires_grad=True), scale * torch.randn(1, num_classes)
        one = Output(features, logits.requires_grad_())
        total = method.transfer(one, one, torch.tensor([0]), HALF).total
        grads = torch.autograd.grad(total, [features, logits], allow_unused=True)
        assert total.isfinite()
        assert all(grad is None or grad.isfinite().all() for grad in grads)


def test_the_discriminator_learns_what_only_features_and_classes_together_tell() -> None:
    torch.manual_seed(0)
    method = CDAN(Classifier(nn.Identity(), 2, 2), 2, hidden=32)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    accuracies = []
    for _ in range(40):
        sides = []
        for sign in (1, -1):  # a class lies on one side in the source, and on the other in the target
            classes = torch.randint(2, (64,))
            x = sign * (2.0 * classes - 1).unsqueeze(1) + 0.3 * torch.randn(64, 2)
            sides.append(Output(x, 9.0 * nn.functional.one_hot(classes, 2)))
        loss = method.transfer(*sides, torch.zeros(64).long(), HALF)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        accuracies.append(float(loss.metrics["domain_accuracy"]))
    assert accuracies[0] < 0.8
    assert min(accuracies[-5:]) > 0.95
