"""The bounds: what is in their loss, and what is in the norms' statistics."""

import math

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.bounds import Joint, SourceOnly, TargetOracle, source_loss
from uan_da.methods.method import Progress
from uan_da.methods.transfer import TransferLoss
from uan_da.models.classifier import Classifier
from uan_da.norms import UAN2d


def source_side(n: int, domain: int) -> DomainImages:
    labels = torch.randint(3, (n,)) if domain == 0 else torch.full((n,), -1)
    return DomainImages({"weak": torch.randn(n, 3, 2, 2).double()}, labels, torch.full((n,), domain))


@pytest.mark.parametrize("n", [1, 5])
def test_source_only_is_the_mean_cross_entropy_of_the_source(n: int) -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), 6, 3).double()
    batch = DomainBatch(source_side(n, 0), source_side(4, 1))
    method = SourceOnly(model, 3)
    p = model(batch.source.weak).logits.softmax(1).detach()
    expected = -sum(math.log(float(p[i, y])) for i, y in enumerate(batch.source.labels)) / n
    for loss in (method.loss(model, batch, Progress(0, 1)), source_loss(model, batch, Progress(0, 1))):
        assert set(loss.terms) == {"source"}
        assert float(loss.total.detach()) == pytest.approx(expected)


def test_source_only_has_the_target_in_no_statistic() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    model = Classifier(nn.Sequential(norm, nn.Flatten()), 12, 3).double()
    batch = DomainBatch(source_side(5, 0), source_side(4, 1))
    SourceOnly(model, 3).loss(model, batch, Progress(0, 1))
    torch.testing.assert_close(norm.running_mean, 0.1 * batch.source.weak.mean((0, 2, 3)))
    assert int(norm.num_batches_tracked) == 1


NOW = Progress(0, 1)


def net(norm: nn.Module) -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(norm, nn.Flatten()), 12, 3).double()


def with_target(batch: DomainBatch, images: torch.Tensor) -> DomainBatch:
    return DomainBatch(batch.source, DomainImages({"weak": images}, batch.target.labels, batch.target.domain))


@pytest.mark.parametrize("routing", ["joint", "separate"])
def test_the_loss_is_cross_entropy_of_the_source_by_the_statistics_of_its_forward(
    batch: DomainBatch, routing: str
) -> None:
    model = net(nn.BatchNorm2d(3))
    images = batch.source.weak
    seen = torch.cat([images, batch.target.weak]) if routing == "joint" else images
    mean, var = seen.mean((0, 2, 3), keepdim=True), seen.var((0, 2, 3), keepdim=True, correction=0)
    logits = model.head(((images - mean) / (var + 1e-5).sqrt()).flatten(1))
    expected = -logits.log_softmax(1).gather(1, batch.source.labels[:, None]).mean()
    loss = TransferLoss([Joint(model, 3)], routing).loss(model, batch, NOW)  # type: ignore[arg-type]
    assert set(loss.terms) == {"source"}
    assert loss.metrics == {}
    torch.testing.assert_close(loss.total, expected)


def test_the_target_is_in_the_running_statistics(batch: DomainBatch) -> None:
    norm = nn.BatchNorm2d(3, momentum=1.0)
    model = net(norm)
    TransferLoss([Joint(model, 3)], "joint").loss(model, batch, NOW)
    seen = torch.cat([batch.source.weak, batch.target.weak])
    torch.testing.assert_close(norm.running_mean, seen.mean((0, 2, 3)))
    torch.testing.assert_close(norm.running_var, seen.var((0, 2, 3)))


def test_the_target_moves_the_clusters_of_uan(batch: DomainBatch) -> None:
    means = []
    for target in (batch.target.weak, batch.target.weak + 5):
        norm = UAN2d(3, num_clusters=2)
        model = net(norm)
        for _ in range(3):
            TransferLoss([Joint(model, 3)], "joint").loss(model, with_target(batch, target), NOW)
        means.append(norm.mean.detach().clone())
    assert float((means[1] - means[0]).abs().max()) > 1e-3


def test_joint_has_nothing_of_its_own(batch: DomainBatch) -> None:
    method = Joint(net(nn.Identity()), 3)
    assert method.state_dict() == {}
    assert method.routing == "joint"


LABELS_T = [2, -1, 0, 1, -1]


@pytest.fixture
def bounded() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 6)), 6, 3).double()


def labelled_side(labels: list[int], domain: int) -> DomainImages:
    images = torch.randn(len(labels), 3, 2, 2).double()
    return DomainImages({"weak": images}, torch.tensor(labels), torch.full((len(labels),), domain))


def test_value_and_gradient_are_two_means_of_one_forward(bounded: Classifier) -> None:
    batch = DomainBatch(labelled_side([0, 2], 0), labelled_side(LABELS_T, 1))
    method = TargetOracle(bounded, 3)
    loss = method.loss(bounded, batch, Progress(0, 1))
    log_p = bounded(torch.cat([batch.source.weak, batch.target.weak])).logits.log_softmax(1)
    expected = -(log_p[0, 0] + log_p[1, 2]) / 2 - (log_p[2, 2] + log_p[4, 0] + log_p[5, 1]) / 3
    torch.testing.assert_close(loss.total, expected)
    parameters = list(bounded.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss.total, parameters), torch.autograd.grad(expected, parameters))
    assert method.reads_target_labels


def test_unknown_labels_alone_count_nothing(bounded: Classifier) -> None:
    loss = TargetOracle(bounded, 3).loss(
        bounded, DomainBatch(labelled_side([1], 0), labelled_side([-1, -1], 1)), Progress(0, 1)
    )
    assert float(loss.terms["target"].detach()) == 0
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in bounded.parameters())
