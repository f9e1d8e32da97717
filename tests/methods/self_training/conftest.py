"""A small classifier and a batch of two views, in float64: six labelled source images, nine of a shifted target."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.models.classifier import Classifier

Side = Callable[[int, int, Tensor], DomainImages]


@pytest.fixture
def side() -> Side:
    """``side(n, domain, labels)``: n random images of a domain."""

    def make(n: int, domain: int, labels: Tensor) -> DomainImages:
        views = {view: torch.randn(n, 3, 4, 4, dtype=torch.float64) + 2 * domain for view in ("weak", "strong")}
        return DomainImages(views, labels, torch.full((n,), domain))

    return make


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    backbone = nn.Sequential(nn.Conv2d(3, 5, 3), nn.BatchNorm2d(5), nn.ReLU(), nn.Flatten())
    return Classifier(backbone, 20, 4).double()


@pytest.fixture
def batch(side: Side) -> DomainBatch:
    torch.manual_seed(1)
    return DomainBatch(side(6, 0, torch.randint(4, (6,))), side(9, 1, torch.full((9,), -1)))
