"""A tiny classifier and a tiny batch, in float64, for methods that are tested without a training."""

import pytest
import torch
from torch import nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.models.classifier import Classifier


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 6), nn.Tanh()), 6, 3).double()


@pytest.fixture
def batch() -> DomainBatch:
    torch.manual_seed(1)
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64), torch.randn(5, 3, 2, 2, dtype=torch.float64)
    source = DomainImages({"weak": x[0]}, torch.randint(3, (4,)), torch.zeros(4, dtype=torch.long))
    return DomainBatch(source, DomainImages({"weak": x[1]}, torch.full((5,), -1), torch.ones(5, dtype=torch.long)))
