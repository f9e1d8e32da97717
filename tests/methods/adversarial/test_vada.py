import math

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.adversarial.vada import VADA
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier
from uan_da.norms import convert_norm
from uan_da.norms.baselines.dsbn import dsbn

HALF = Progress(1, 2)
TERMS = ["source", "domain", "discriminator", "source_smoothness", "target_smoothness", "target_entropy"]


@pytest.fixture
def method(model: Classifier) -> VADA:
    torch.manual_seed(2)
    return VADA(model, 3, domain_weight=0.3, source_weight=0.5, target_weight=0.2, radius=0.4).double()


def gradients(term: Tensor, module: nn.Module) -> list[Tensor | None]:
    return list(torch.autograd.grad(term, list(module.parameters()), retain_graph=True, allow_unused=True))


def test_terms_equal_the_formulas(method: VADA, model: Classifier, batch: DomainBatch) -> None:
    source, target = model(batch.source.weak), model(batch.target.weak)
    p_s, p_t = source.logits.softmax(1).tolist(), target.logits.softmax(1).tolist()
    d_s = torch.sigmoid(method.discriminator(source.features)).flatten().tolist()
    d_t = torch.sigmoid(method.discriminator(target.features)).flatten().tolist()
    loss = method.loss(model, batch, HALF)
    terms = {name: float(value.detach()) for name, value in loss.terms.items()}
    assert list(terms) == TERMS
    assert terms["source"] == pytest.approx(-sum(math.log(p_s[i][y]) for i, y in enumerate(batch.source.labels)) / 4)
    told = -sum(math.log(v) for v in d_s) / 8 - sum(math.log(1 - v) for v in d_t) / 10
    confused = -sum(math.log(1 - v) for v in d_s) / 8 - sum(math.log(v) for v in d_t) / 10
    assert terms["discriminator"] == pytest.approx(told)
    assert terms["domain"] == pytest.approx(0.3 * confused)
    assert terms["target_entropy"] == pytest.approx(-0.2 * sum(v * math.log(v) for row in p_t for v in row) / 5)


def test_smoothness_is_that_of_the_worst_direction(method: VADA, model: Classifier, batch: DomainBatch) -> None:
    terms = method.loss(model, batch, HALF).terms
    for side, name, weight in ((batch.source, "source", 0.5), (batch.target, "target", 0.2)):
        p = model(side.weak).logits.softmax(1)
        torch.manual_seed(5)
        worst = 0.0
        for _ in range(200):  # the worst of many random changes is a bound from below, nearly
            change = 0.4 * nn.functional.normalize(torch.randn(len(p), 12).double()).view_as(side.weak)
            q = model(side.weak + change).logits.softmax(1)
            worst = max(worst, float((p * (p.log() - q.log())).sum(1).mean().detach()))
        assert float(terms[f"{name}_smoothness"].detach()) > 0.9 * weight * worst > 0


def test_only_the_discriminators_own_term_moves_it(method: VADA, model: Classifier, batch: DomainBatch) -> None:
    terms = method.loss(model, batch, HALF).terms
    for name, term in terms.items():
        moved = [gradient is not None for gradient in gradients(term, method.discriminator)]
        assert moved == [name == "discriminator"] * 4, name
    assert gradients(terms["discriminator"], model) == [None] * 4
    assert all(gradient is not None for gradient in gradients(terms["domain"], model.backbone))


def test_the_discriminator_tells_better_and_the_features_are_told_worse(
    method: VADA, model: Classifier, batch: DomainBatch
) -> None:
    for name, module, sign in (("discriminator", method.discriminator, -1), ("domain", model.backbone, 1)):
        terms = method.loss(model, batch, HALF).terms
        before = float(terms["discriminator"].detach())
        for parameter, gradient in zip(module.parameters(), gradients(terms[name], module), strict=True):
            assert gradient is not None
            parameter.data -= 1e-2 * gradient
        assert sign * (float(method.loss(model, batch, HALF).terms["discriminator"].detach()) - before) > 0


def domains(shift: float = 3.0) -> DomainBatch:
    source = DomainImages({"weak": torch.randn(8, 3, 2, 2)}, torch.zeros(8).long(), torch.zeros(8).long())
    target = DomainImages({"weak": torch.randn(6, 3, 2, 2) + shift}, torch.full((6,), -1), torch.ones(6).long())
    return DomainBatch(source, target)


@pytest.mark.parametrize("routing", ["separate", "joint"])
def test_running_statistics_are_the_targets_or_both_domains(routing: str) -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Flatten()), 12, 2)
    batch = domains()
    VADA(model, 2, routing=routing).loss(model, batch, HALF)  # type: ignore[arg-type]
    seen = batch.target.weak if routing == "separate" else torch.cat([batch.source.weak, batch.target.weak])
    assert int(model.backbone[0].num_batches_tracked) == 1
    torch.testing.assert_close(model.backbone[0].running_mean, seen.mean((0, 2, 3)))


def test_norms_with_a_branch_per_domain_follow_both() -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.BatchNorm2d(3, momentum=None), nn.Flatten()), 12, 2)
    convert_norm(model, dsbn)
    batch = domains()
    VADA(model, 2).loss(model, batch, HALF)
    branches = model.backbone[0].branches
    for branch, side in zip(branches, (batch.source, batch.target), strict=True):
        assert int(branch.num_batches_tracked) == 1
        torch.testing.assert_close(branch.running_mean, side.weak.mean((0, 2, 3)))


@pytest.mark.parametrize("num_classes", [1, 3])
def test_a_single_image_a_domain_will_do(num_classes: int) -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh()), 6, num_classes)
    one = DomainImages({"weak": torch.ones(1, 3, 2, 2)}, torch.tensor([0]), torch.tensor([0]))
    loss = VADA(model, num_classes).loss(model, DomainBatch(one, one), HALF)
    grads = torch.autograd.grad(loss.total, list(model.parameters()))
    assert loss.total.isfinite()
    assert all(gradient.isfinite().all() for gradient in grads)


def test_the_discriminator_learns_features_that_are_told_apart() -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Flatten(), 12, 2)
    method = VADA(model, 2)
    optimizer = torch.optim.Adam(method.parameters(), 1e-2)
    accuracies = []
    for _ in range(30):
        loss = method.loss(model, domains(1.5), HALF)
        optimizer.zero_grad()
        loss.total.backward()
        optimizer.step()
        accuracies.append(float(loss.metrics["domain_accuracy"]))
    assert accuracies[0] < 0.9
    assert min(accuracies[-5:]) > 0.9
