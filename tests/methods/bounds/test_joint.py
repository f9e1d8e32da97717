import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.bounds.joint import Joint
from uan_da.methods.method import Progress
from uan_da.methods.transfer import TransferLoss
from uan_da.models.classifier import Classifier
from uan_da.norms import UAN2d

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


def test_it_has_nothing_of_its_own(batch: DomainBatch) -> None:
    method = Joint(net(nn.Identity()), 3)
    assert method.state_dict() == {}
    assert method.routing == "joint"
