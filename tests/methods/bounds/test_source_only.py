import math

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.bounds.source_only import SourceOnly, source_loss
from uan_da.methods.method import Progress
from uan_da.models.classifier import Classifier


def side(n: int, domain: int) -> DomainImages:
    labels = torch.randint(3, (n,)) if domain == 0 else torch.full((n,), -1)
    return DomainImages({"weak": torch.randn(n, 3, 2, 2).double()}, labels, torch.full((n,), domain))


@pytest.mark.parametrize("n", [1, 5])
def test_the_loss_is_the_mean_cross_entropy_of_the_source(n: int) -> None:
    torch.manual_seed(0)
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6)), 6, 3).double()
    batch = DomainBatch(side(n, 0), side(4, 1))
    method = SourceOnly(model, 3)
    p = model(batch.source.weak).logits.softmax(1).detach()
    expected = -sum(math.log(float(p[i, y])) for i, y in enumerate(batch.source.labels)) / n
    for loss in (method.loss(model, batch, Progress(0, 1)), source_loss(model, batch, Progress(0, 1))):
        assert set(loss.terms) == {"source"}
        assert float(loss.total.detach()) == pytest.approx(expected)


def test_the_target_is_in_no_statistic() -> None:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(3)
    model = Classifier(nn.Sequential(norm, nn.Flatten()), 12, 3).double()
    batch = DomainBatch(side(5, 0), side(4, 1))
    SourceOnly(model, 3).loss(model, batch, Progress(0, 1))
    torch.testing.assert_close(norm.running_mean, 0.1 * batch.source.weak.mean((0, 2, 3)))
    assert int(norm.num_batches_tracked) == 1
