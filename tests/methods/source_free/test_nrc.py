import math

import pytest
import torch

from uan_da.methods.source_free.neighbors import Bank
from uan_da.methods.source_free.nrc import NRC
from uan_da.models.classifier import Classifier


def naive(logits: torch.Tensor, indices: torch.Tensor, bank: Bank, neighbors: int, expanded: int) -> float:
    """The paper's sums, image by image."""
    rows = indices.tolist()
    p, q, f = logits.softmax(1).tolist(), bank.probabilities.tolist(), bank.features.tolist()

    def dot(a: list[float], b: list[float]) -> float:
        return sum(u * v for u, v in zip(a, b, strict=True))

    def nearest(i: int, count: int) -> list[int]:
        return sorted((j for j in range(len(f)) if j != i), key=lambda j: -dot(f[i], f[j]))[:count]

    total = 0.0
    for row, i in enumerate(rows):
        for k in nearest(i, neighbors):
            theirs = nearest(k, expanded)
            total -= (1.0 if i in theirs else 0.1) * dot(p[row], q[k])
            total -= 0.1 * sum(dot(p[row], q[m]) for m in theirs)
    mean = [sum(column) / len(rows) for column in zip(*p, strict=True)]
    return total / len(rows) + sum(m * math.log(m) for m in mean)


@pytest.mark.parametrize(("neighbors", "expanded"), [(3, 2), (5, 5)])
@pytest.mark.parametrize(("images", "size", "classes"), [(20, 7, 4), (20, 1, 4), (3, 3, 4), (2, 2, 3), (6, 4, 1)])
def test_the_loss_and_its_gradient_are_the_formula(
    model: Classifier, images: int, size: int, classes: int, neighbors: int, expanded: int
) -> None:
    """With fewer images than neighbours, a batch of one, and a single class, too."""
    torch.manual_seed(0)
    features = torch.randn(images, 5, dtype=torch.float64)
    bank = Bank(features, (2 * torch.randn(images, classes, dtype=torch.float64)).softmax(1))
    indices = torch.randperm(images)[:size]
    logits = torch.randn(size, classes, dtype=torch.float64, requires_grad=True)
    bank.put(indices, features[indices], logits.softmax(1))
    method = NRC(model, classes, neighbors=neighbors, expanded=expanded)
    assert float(method.loss(logits, indices, bank, 0.5).detach()) == pytest.approx(
        naive(logits, indices, bank, neighbors, expanded), rel=1e-12
    )
    assert torch.autograd.gradcheck(lambda z: method.loss(z, indices, bank, 0.5), logits)


def test_a_neighbor_that_returns_it_counts_ten_times(model: Classifier) -> None:
    """On a line of three images the middle one is the nearest of both ends, and returns one of them."""
    angles = torch.tensor([0.0, 0.1, 0.3], dtype=torch.float64)
    bank = Bank(torch.stack([angles.cos(), angles.sin()], 1), torch.eye(3, dtype=torch.float64))
    method, zeros = NRC(model, 3, neighbors=1, expanded=1), torch.zeros(1, 3, dtype=torch.float64)
    for image, affinity in ((0, 1.0), (2, 0.1)):
        loss = method.loss(zeros, torch.tensor([image]), bank, 0.0)
        assert float(loss) == pytest.approx(-affinity / 3 - 0.1 / 3 - math.log(3))
