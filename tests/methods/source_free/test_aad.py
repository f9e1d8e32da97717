import pytest
import torch

from uan_da.methods.source_free.aad import AaD, dispersion
from uan_da.methods.source_free.neighbors import Bank
from uan_da.models.classifier import Classifier


def case(images: int, size: int, classes: int) -> tuple[torch.Tensor, torch.Tensor, Bank]:
    """Logits of a batch, its indices, and a bank of ``images`` that holds it."""
    torch.manual_seed(0)
    features = torch.randn(images, 5, dtype=torch.float64)
    bank = Bank(features, (2 * torch.randn(images, classes, dtype=torch.float64)).softmax(1))
    indices = torch.randperm(images)[:size]
    logits = torch.randn(size, classes, dtype=torch.float64, requires_grad=True)
    bank.put(indices, features[indices], logits.softmax(1))
    return logits, indices, bank


def naive(logits: torch.Tensor, indices: torch.Tensor, bank: Bank, neighbors: int, weight: float) -> float:
    """The paper's sums, image by image."""
    rows = indices.tolist()
    p, q, f = logits.softmax(1).tolist(), bank.probabilities.tolist(), bank.features.tolist()

    def dot(a: list[float], b: list[float]) -> float:
        return sum(u * v for u, v in zip(a, b, strict=True))

    total = 0.0
    for row, i in enumerate(rows):
        near = sorted((j for j in range(len(f)) if j != i), key=lambda j: -dot(f[i], f[j]))[:neighbors]
        total -= sum(dot(p[row], q[k]) for k in near)
        total += weight * sum(dot(p[row], p[other]) for other in range(len(rows)) if other != row)
    return total / len(rows)


@pytest.mark.parametrize("part", [0.0, 0.3, 1.0])
@pytest.mark.parametrize(("images", "size", "classes"), [(20, 7, 4), (20, 1, 4), (3, 3, 4), (6, 4, 1)])
def test_the_loss_and_its_gradient_are_the_formula(
    model: Classifier, images: int, size: int, classes: int, part: float
) -> None:
    """With fewer images than neighbours, a batch of one, and a single class, too."""
    logits, indices, bank = case(images, size, classes)
    method = AaD(model, classes, neighbors=5, decay=2.0)
    weight = (1 + 10 * part) ** -2.0
    assert float(method.loss(logits, indices, bank, part).detach()) == pytest.approx(
        naive(logits, indices, bank, 5, weight), rel=1e-12
    )
    assert torch.autograd.gradcheck(lambda z: method.loss(z, indices, bank, part), logits)


def test_dispersion_moves_both_sides_of_each_pair() -> None:
    p = torch.rand(3, 2, dtype=torch.float64, requires_grad=True)
    dispersion(p).backward()
    q = p.tolist()
    expected = [[2 * sum(q[j][c] for j in range(3) if j != i) / 3 for c in range(2)] for i in range(3)]
    torch.testing.assert_close(p.grad, torch.tensor(expected, dtype=torch.float64))


def test_agreeing_neighbors_and_other_predictions_in_the_batch_are_the_least_loss(model: Classifier) -> None:
    sure = torch.eye(2, dtype=torch.float64)
    bank = Bank(sure.repeat_interleave(3, 0), sure.repeat_interleave(3, 0))
    method, indices = AaD(model, 2, neighbors=2), torch.tensor([0, 3])
    good = method.loss(1e3 * sure, indices, bank, 0.0)
    assert float(good) == -2
    assert float(method.loss(1e3 * sure.flip(0), indices, bank, 0.0)) == 0
    assert float(method.loss(1e3 * sure[[0, 0]], indices, bank, 0.0)) == 0  # one right, one wrong, and both alike
