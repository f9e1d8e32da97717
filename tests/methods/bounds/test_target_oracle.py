import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.bounds.target_oracle import TargetOracle
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier

LABELS_T = [2, -1, 0, 1, -1]


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 6)), 6, 3).double()


def side(labels: list[int], domain: int) -> DomainImages:
    images = torch.randn(len(labels), 3, 2, 2).double()
    return DomainImages({"weak": images}, torch.tensor(labels), torch.full((len(labels),), domain))


def test_value_and_gradient_are_two_means_of_one_forward(model: Classifier) -> None:
    batch = DomainBatch(side([0, 2], 0), side(LABELS_T, 1))
    method = TargetOracle(model, 3)
    loss = method.loss(model, batch, Progress(0, 1))
    log_p = model(torch.cat([batch.source.weak, batch.target.weak])).logits.log_softmax(1)
    expected = -(log_p[0, 0] + log_p[1, 2]) / 2 - (log_p[2, 2] + log_p[4, 0] + log_p[5, 1]) / 3
    torch.testing.assert_close(loss.total, expected)
    parameters = list(model.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss.total, parameters), torch.autograd.grad(expected, parameters))
    assert method.reads_target_labels


def test_unknown_labels_alone_count_nothing(model: Classifier) -> None:
    loss = TargetOracle(model, 3).loss(model, DomainBatch(side([1], 0), side([-1, -1], 1)), Progress(0, 1))
    assert float(loss.terms["target"].detach()) == 0
    loss.total.backward()  # type: ignore[no-untyped-call]
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
