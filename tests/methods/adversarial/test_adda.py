import copy
import math

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.adversarial.adda import ADDA
from uan_da.methods.method import Phase, Progress
from uan_da.models.classifier import Classifier

HALF = Progress(1, 2)


def step(phase: Phase, model: Classifier, batch: DomainBatch, lr: float = 1e-2) -> float:
    """One step of plain gradient descent on what the phase moves; the loss before it."""
    moved = [parameter for module in phase.modules for parameter in module.parameters()]
    total = phase.loss(model, batch, HALF).total
    for parameter, gradient in zip(moved, torch.autograd.grad(total, moved), strict=True):
        parameter.data -= lr * gradient
    return float(total.detach())


@pytest.fixture
def method(model: Classifier) -> ADDA:
    torch.manual_seed(2)
    adda = ADDA(model, 3, hidden=8).double()
    adda.start(model)
    model.backbone[1].weight.data += 0.3  # the target's features have left the source's
    return adda


def test_both_losses_equal_the_formula(method: ADDA, model: Classifier, batch: DomainBatch) -> None:
    discriminate, confuse = method.phases(model)
    p_s = torch.sigmoid(method.discriminator(method.source_model(batch.source.weak).features)).flatten()
    p_t = torch.sigmoid(method.discriminator(model(batch.target.weak).features)).flatten()
    told = -0.5 * sum(math.log(v) for v in p_s.tolist()) / 4 - 0.5 * sum(math.log(1 - v) for v in p_t.tolist()) / 5
    loss = discriminate.loss(model, batch, HALF)
    assert float(loss.total.detach()) == pytest.approx(told)
    assert 0 <= float(loss.metrics["domain_accuracy"]) <= 1
    fooled = -sum(math.log(v) for v in p_t.tolist()) / 5
    assert float(confuse.loss(model, batch, HALF).total.detach()) == pytest.approx(fooled)


def test_a_phase_moves_the_discriminator_or_the_encoder_and_never_the_head(
    method: ADDA, model: Classifier, batch: DomainBatch
) -> None:
    discriminate, confuse = method.phases(model)
    encoder = list(model.backbone.parameters())
    assert list(discriminate.modules) == [method.discriminator]
    assert [p for module in confuse.modules for p in module.parameters()] == encoder
    total = discriminate.loss(model, batch, HALF).total
    assert torch.autograd.grad(total, encoder, allow_unused=True) == (None,) * len(encoder)
    assert not any(parameter.requires_grad for parameter in method.source_model.parameters())


def test_the_discriminator_tells_better_and_the_encoder_is_told_worse(
    method: ADDA, model: Classifier, batch: DomainBatch
) -> None:
    discriminate, confuse = method.phases(model)
    before = discriminate.loss(model, batch, HALF).total.detach()
    step(discriminate, model, batch)
    assert discriminate.loss(model, batch, HALF).total < before
    before = discriminate.loss(model, batch, HALF).total.detach()
    step(confuse, model, batch)
    assert discriminate.loss(model, batch, HALF).total > before


def test_the_source_model_is_what_the_model_was_at_the_start_and_is_saved(model: Classifier) -> None:
    method = ADDA(model, 3)
    model.backbone[1].weight.data += 1  # the pre-training
    method.start(model)
    at_start = copy.deepcopy(model.state_dict())
    model.backbone[1].weight.data += 1
    other = ADDA(model, 3)
    other.load_state_dict(method.state_dict())
    for name, value in other.source_model.state_dict().items():
        torch.testing.assert_close(value, at_start[name])


def norm_model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.BatchNorm1d(6)), 6, 3)


def norm_batch() -> DomainBatch:
    source = DomainImages({"weak": torch.randn(8, 3, 2, 2)}, torch.zeros(8).long(), torch.zeros(8).long())
    return DomainBatch(
        source, DomainImages({"weak": torch.randn(6, 3, 2, 2) + 3}, torch.full((6,), -1), torch.ones(6).long())
    )


def test_running_statistics_are_the_sources_for_good_and_the_targets_once_a_batch() -> None:
    model, batch = norm_model(), norm_batch()
    model(batch.source.weak)
    method = ADDA(model, 3).train()
    method.start(model)
    kept = copy.deepcopy(method.source_model.state_dict())
    for phase in method.phases(model):
        phase.loss(model, batch, HALF)
    assert int(model.backbone[2].num_batches_tracked) == 2  # one of them before the start
    for name, value in method.source_model.state_dict().items():
        assert torch.equal(value, kept[name]), name


@pytest.mark.parametrize("norm", [False, True])
def test_the_target_is_moved_onto_the_source(norm: bool) -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(2, 2)), 2, 2)
    with torch.no_grad():
        model.backbone[1].weight.copy_(torch.eye(2))
        model.backbone[1].bias.zero_()
    method = ADDA(model, 2, hidden=16, discriminator_norm=norm)
    method.start(model)
    phases = method.phases(model)
    optimizers = [
        torch.optim.Adam([p for module in phase.modules for p in module.parameters()], 1e-2) for phase in phases
    ]
    gaps, accuracies = [], []
    for _ in range(200):
        x = [0.5 * torch.randn(32, 2, 1, 1), 0.5 * torch.randn(32, 2, 1, 1) + 1.5]
        batch = DomainBatch(
            *(DomainImages({"weak": each}, torch.zeros(32).long(), torch.zeros(32).long()) for each in x)
        )
        for phase, optimizer in zip(phases, optimizers, strict=True):
            loss = phase.loss(model, batch, HALF)
            moved = [p for module in phase.modules for p in module.parameters()]
            optimizer.zero_grad()
            loss.total.backward(inputs=moved)
            optimizer.step()
            accuracies += [float(value) for value in loss.metrics.values()]
        gaps.append(float(model(x[1]).features.mean(0).norm().detach()))
    assert max(accuracies[:80]) > 0.9  # the discriminator has learned
    assert gaps[0] > 1.9
    assert gaps[-1] < 1.0


def test_a_single_image_a_domain_will_do(model: Classifier, batch: DomainBatch) -> None:
    one = DomainImages({"weak": batch.source.weak[:1]}, torch.tensor([0]), torch.tensor([0]))
    method = ADDA(model, 3, discriminator_norm=True).double()
    method.start(model)
    for phase in method.phases(model):
        assert phase.loss(model, DomainBatch(one, one), HALF).total.isfinite()
