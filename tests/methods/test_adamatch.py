"""AdaMatch against its paper's formula, written naively."""

import math

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.batch import DomainBatch, DomainImages
from uan_da.methods.adamatch import AdaMatch, align
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier


def side(n: int, domain: int, labels: Tensor) -> DomainImages:
    views = {view: torch.randn(n, 3, 4, 4, dtype=torch.float64) for view in ("weak", "strong")}
    return DomainImages(views, labels, torch.full((n,), domain))


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten())
    return Classifier(backbone, 20, 4).double()


@pytest.fixture
def batch() -> DomainBatch:
    torch.manual_seed(1)
    return DomainBatch(side(6, 0, torch.randint(4, (6,))), side(9, 1, torch.full((9,), -1)))


def naive_align(target: list[list[float]], source: list[list[float]]) -> list[list[float]]:
    classes = range(len(target[0]))
    source_mean = [sum(row[k] for row in source) / len(source) for k in classes]
    target_mean = [sum(row[k] for row in target) / len(target) for k in classes]
    raised = [[row[k] * source_mean[k] / target_mean[k] for k in classes] for row in target]
    return [[value / sum(row) for value in row] for row in raised]


def test_alignment_is_per_class() -> None:
    target, source = torch.rand(7, 3).softmax(1), torch.rand(5, 3).softmax(1) * 1.0
    source = (torch.randn(5, 3) * 2).softmax(1)
    torch.testing.assert_close(align(target, source), torch.tensor(naive_align(target.tolist(), source.tolist())))


def test_alignment_moves_the_class_marginal_and_is_no_scalar() -> None:
    """The Keras example's ratio of two grand means is 1 whatever the data: alignment would do nothing."""
    target = torch.tensor([[0.9, 0.1], [0.8, 0.2]])
    source = torch.tensor([[0.5, 0.5], [0.5, 0.5]])
    aligned = align(target, source)
    torch.testing.assert_close(aligned.sum(1), torch.ones(2))
    assert (aligned[:, 1] > target[:, 1]).all()


def test_alignment_of_a_class_that_the_target_never_shows() -> None:
    aligned = align(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.5, 0.5]]))
    assert aligned.isfinite().all()
    torch.testing.assert_close(aligned.sum(1), torch.ones(1))


@pytest.mark.parametrize("kind", ["soft", "hard"])
@pytest.mark.parametrize("progress", [0.0, 0.2, 0.5, 0.9])
def test_loss_and_gradient_equal_the_formula(
    model: Classifier, batch: DomainBatch, progress: float, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    draws = [torch.rand(6, 4, dtype=torch.float64) for _ in range(2)]
    feed = iter(draws)
    monkeypatch.setattr(torch, "rand_like", lambda x: next(feed))
    model.train()
    method = AdaMatch(model, 4, threshold=0.95, pseudo_label=kind)  # type: ignore[arg-type]
    loss = method.loss(model, batch, Progress(round(10 * progress), 10))
    grads = torch.autograd.grad(loss.total, list(model.parameters()))

    s, t, y = batch.source, batch.target, batch.source.labels
    z = model(torch.cat([s.weak, s.strong, t.weak, t.strong])).logits
    z2 = model(torch.cat([s.weak, s.strong])).logits
    sw = draws[0] * z[:6] + (1 - draws[0]) * z2[:6]
    ss = draws[1] * z[6:12] + (1 - draws[1]) * z2[6:]
    tw, ts = z[12:21], z[21:]
    probs = sw.softmax(1).detach()
    pseudo = torch.tensor(naive_align(tw.softmax(1).tolist(), probs.tolist()), dtype=torch.float64)
    confidence = 0.95 * sum(max(row) for row in probs.tolist()) / 6
    on_target = 0.0
    for i in range(9):
        if max(pseudo[i].tolist()) >= confidence:
            label = pseudo[i] if kind == "soft" else nn.functional.one_hot(pseudo[i].argmax(), 4)
            on_target = on_target - (label * ts[i].log_softmax(0)).sum() / 9
    mu = 0.5 - math.cos(min(math.pi, 2 * math.pi * progress)) / 2
    on_source = -sum((sw[i].log_softmax(0)[y[i]] + ss[i].log_softmax(0)[y[i]]) / 6 for i in range(6))
    expected = on_source + mu * on_target
    torch.testing.assert_close(loss.total, expected)
    torch.testing.assert_close(grads, torch.autograd.grad(expected, list(model.parameters())))
    kept = sum(max(row) >= confidence for row in pseudo.tolist())
    assert float(loss.metrics["mask"]) == pytest.approx(kept / 9)
    assert 0 < kept < 9  # the threshold of this test does decide something


def test_only_the_joint_forward_updates_running_statistics(model: Classifier, batch: DomainBatch) -> None:
    model.train()
    AdaMatch(model, 4).loss(model, batch, Progress(1, 2))
    norm = model.backbone[1]
    images = torch.cat([batch.source.weak, batch.source.strong, batch.target.weak, batch.target.strong])
    seen = model.backbone[0](images)
    torch.testing.assert_close(norm.running_mean, 0.1 * seen.mean((0, 2, 3)))
    assert int(norm.num_batches_tracked) == 1


def test_interpolation_draws_for_each_logit(model: Classifier, batch: DomainBatch) -> None:
    model.train()
    method = AdaMatch(model, 4)
    with torch.no_grad():
        one, two = (method._interpolated_logits(model, batch) for _ in range(2))
    difference = one[0] - two[0]
    assert difference.std(1).min() > 0  # not one draw a sample
    assert difference.std(0).min() > 0
    torch.testing.assert_close(one[2], two[2])  # the target is not interpolated
