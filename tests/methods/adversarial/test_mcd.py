import math

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.adversarial.mcd import MCD, discrepancy, imbalance
from uan_da.methods.method import Phase, Progress
from uan_da.models.classifier import Classifier

HALF = Progress(1, 2)


@pytest.fixture
def method(model: Classifier) -> MCD:
    torch.manual_seed(2)
    return MCD(model, 3, trade_off=0.7, class_balance=0.2).double()


def parameters(phase: Phase) -> list[nn.Parameter]:
    return [parameter for module in phase.modules for parameter in module.parameters()]


def probabilities(method: MCD, model: Classifier, images: Tensor) -> list[Tensor]:
    output = model(images)
    return [output.logits.softmax(1), method.second_head(output.features).softmax(1)]


def test_each_phase_has_the_loss_of_the_formula(method: MCD, model: Classifier, batch: DomainBatch) -> None:
    source, target = (probabilities(method, model, side.weak) for side in (batch.source, batch.target))
    classify = balance = disagree = 0.0
    for p in source:
        classify -= sum(math.log(float(p[i, y].detach())) for i, y in enumerate(batch.source.labels)) / 4
    for p in target:
        balance -= sum(math.log(sum(float(v) for v in p[:, k].detach()) / 5) for k in range(3)) / 3
    for i in range(5):
        disagree += sum(abs(float((target[0][i, k] - target[1][i, k]).detach())) for k in range(3)) / 15
    first, second, third = (phase.loss(model, batch, HALF).terms for phase in method.phases(model))
    expected = {"source": classify, "balance": 0.2 * balance}
    assert {name: float(value.detach()) for name, value in first.items()} == pytest.approx(expected)
    expected["discrepancy"] = -0.7 * disagree
    assert {name: float(value.detach()) for name, value in second.items()} == pytest.approx(expected)
    assert {name: float(value.detach()) for name, value in third.items()} == pytest.approx(
        {"discrepancy": 0.7 * disagree}
    )


def test_phases_move_everything_then_the_heads_then_the_features(method: MCD, model: Classifier) -> None:
    everything, heads, features = method.phases(model)
    own = list(method.second_head.parameters())
    assert set(parameters(everything)) == {*model.parameters(), *own}
    assert set(parameters(heads)) == {*model.head.parameters(), *own}
    assert set(parameters(features)) == set(model.backbone.parameters())
    assert [everything.times, heads.times, features.times] == [1, 1, 4]


def test_heads_move_apart_and_features_bring_them_together(method: MCD, model: Classifier, batch: DomainBatch) -> None:
    def disagreement() -> float:
        return float(method._agree(model, batch, HALF).total.detach())

    everything, heads, features = method.phases(model)
    for phase, sign in ((heads, 1), (features, -1)):
        before = disagreement()
        loss = phase.loss(model, batch, HALF)
        moved = parameters(phase)
        for parameter, gradient in zip(moved, torch.autograd.grad(loss.terms["discrepancy"], moved), strict=True):
            parameter.data -= 1e-2 * gradient
        assert sign * (disagreement() - before) > 0
    before = everything.loss(model, batch, HALF).total.detach()
    moved = parameters(everything)
    for parameter, gradient in zip(
        moved, torch.autograd.grad(everything.loss(model, batch, HALF).total, moved), strict=True
    ):
        parameter.data -= 1e-2 * gradient
    assert everything.loss(model, batch, HALF).total < before


def test_discrepancy_and_imbalance_of_ugly_logits() -> None:
    x = torch.randn(4, 3, dtype=torch.float64)
    assert float(discrepancy(x, x)) == 0
    assert float(imbalance(torch.zeros(5, 4))) == pytest.approx(math.log(4))
    assert float(imbalance(torch.randn(5, 1))) == 0
    certain = torch.tensor([[1e4, 0.0, 0.0]] * 2, requires_grad=True)
    for loss in (imbalance(certain), discrepancy(certain, -certain)):
        (gradient,) = torch.autograd.grad(loss, certain)
        assert loss.isfinite()
        assert gradient.isfinite().all()
    (gradient,) = torch.autograd.grad(imbalance(certain), certain)
    assert (gradient[:, 0] > 0).all()  # away from the one class


@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_single_image_a_domain_will_do(model: Classifier, batch: DomainBatch, number: int) -> None:
    one = DomainImages({"weak": batch.source.weak[:1]}, torch.tensor([0]), torch.tensor([0]))
    phase = MCD(model, 3).double().phases(model)[number]
    assert phase.loss(model, DomainBatch(one, one), HALF).total.isfinite()


@pytest.mark.parametrize(("routing", "forwards"), [("joint", [1, 1, 1]), ("separate", [2, 2, 1])])
def test_routing_decides_which_statistics_are_shared_in_both_heads(routing: str, forwards: list[int]) -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), 12, 3)
    method = MCD(model, 3, routing=routing)  # type: ignore[arg-type]
    model.head = nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 3))
    method.second_head = nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 3))
    method.second_head.load_state_dict(model.head.state_dict())
    source = DomainImages({"weak": torch.randn(4, 3, 2, 2)}, torch.zeros(4).long(), torch.zeros(4).long())
    target = DomainImages({"weak": torch.randn(5, 3, 2, 2) + 9}, torch.full((5,), -1), torch.ones(5).long())
    seen = 0
    for phase, number in zip(method.phases(model), forwards, strict=True):
        loss = phase.loss(model, DomainBatch(source, target), HALF)
        seen += number
        assert int(model.backbone[0].num_batches_tracked) == seen
        assert int(method.second_head[0].num_batches_tracked) == seen
    assert float(loss.total.detach()) == pytest.approx(0, abs=1e-6)  # equal heads have seen the same


def test_it_learns_to_agree_on_a_shifted_target() -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(2, 16), nn.ReLU()), 16, 2)
    method = MCD(model, 2, trade_off=1.0)
    phases = method.phases(model)
    optimizer = torch.optim.Adam([*model.parameters(), *method.parameters()], 1e-2)
    for _ in range(60):
        labels = torch.randint(2, (32,))
        x = torch.stack([4.0 * labels - 2, torch.zeros(32)], 1) + 0.3 * torch.randn(32, 2)
        images = [x.view(32, 2, 1, 1), (x + torch.tensor([0.0, 1.5])).view(32, 2, 1, 1)]
        batch = DomainBatch(
            DomainImages({"weak": images[0]}, labels, torch.zeros(32).long()),
            DomainImages({"weak": images[1]}, torch.full((32,), -1), torch.ones(32).long()),
        )
        for phase in phases:
            for _ in range(phase.times):
                optimizer.zero_grad()
                phase.loss(model, batch, HALF).total.backward(inputs=parameters(phase))
                optimizer.step()
    p, q = probabilities(method, model, images[1])
    assert float((p.argmax(1) == labels).float().mean()) > 0.95
    assert float((q.argmax(1) == labels).float().mean()) > 0.95
