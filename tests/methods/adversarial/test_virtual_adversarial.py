import math

import pytest
import torch
from torch import Tensor, nn

from uan_da.methods.adversarial.virtual_adversarial import divergence, virtual_adversarial


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.Tanh(), nn.Linear(8, 3))


def naive_divergence(p: Tensor, q: Tensor) -> list[float]:
    rows = zip(p.detach().softmax(1).tolist(), q.detach().softmax(1).tolist(), strict=True)
    return [sum(a * (math.log(a) - math.log(b)) for a, b in zip(*row, strict=True)) for row in rows]


def test_divergence_equals_the_formula_and_is_nothing_of_equals() -> None:
    p, q = torch.randn(5, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    assert divergence(p, q).tolist() == pytest.approx(naive_divergence(p, q))
    assert divergence(p, p + 3).tolist() == pytest.approx([0] * 5, abs=1e-12)
    assert divergence(torch.tensor([[1e4, 0.0]]), torch.tensor([[0.0, 1e4]])).tolist() == [1e4]


def test_it_looks_along_the_worst_direction(network: nn.Module) -> None:
    """The direction of one power iteration: the Hessian of the divergence times the random start, and no further."""
    network.double()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    calls: list[Tensor] = []

    def classify(images: list[Tensor]) -> list[Tensor]:
        calls.append(images[0].detach())
        return [network(images[0])]

    (loss,) = virtual_adversarial(classify, [x], [network(x)], 0.5)
    assert len(calls) == 2
    start, moved = (images - x for images in calls)
    torch.testing.assert_close(start.flatten(1).norm(dim=1), torch.full((4,), 1e-2, dtype=torch.float64))
    torch.testing.assert_close(moved.flatten(1).norm(dim=1), torch.full((4,), 0.5, dtype=torch.float64))
    for i in range(4):
        jacobian = torch.autograd.functional.jacobian(lambda v: network(v.view(1, 3, 2, 2))[0], x[i].flatten())
        p = network(x[i : i + 1])[0].softmax(0).detach()
        hessian = jacobian.T @ (torch.diag(p) - torch.outer(p, p)) @ jacobian
        exact = hessian @ start[i].flatten()
        assert float(nn.functional.cosine_similarity(exact, moved[i].flatten(), dim=0)) > 0.999
    expected = naive_divergence(network(x), network(x + moved))
    assert float(loss.detach()) == pytest.approx(sum(expected) / 4)


def test_in_32_bits_it_is_far_worse_than_a_random_change(network: nn.Module) -> None:
    x = torch.randn(64, 3, 2, 2)
    logits = network(x)
    (loss,) = virtual_adversarial(lambda images: [network(images[0])], [x], [logits], 0.5)
    random = torch.randn_like(x).flatten(1)
    random = 0.5 * nn.functional.normalize(random).view_as(x)
    assert float(loss.detach()) > 3 * float(divergence(logits, network(x + random)).mean().detach())


def test_the_gradient_is_that_of_the_last_forward_alone(network: nn.Module) -> None:
    network.double()
    x = torch.randn(4, 3, 2, 2, dtype=torch.float64)
    moved: list[Tensor] = []

    def classify(images: list[Tensor]) -> list[Tensor]:
        moved.append(images[0].detach())
        return [network(images[0])]

    logits = network(x)
    weights = list(network.parameters())
    (loss,) = virtual_adversarial(classify, [x], [logits], 0.5)
    grads = torch.autograd.grad(loss, weights)
    p = logits.detach().softmax(1)
    plain = (p * (p.log() - network(moved[1]).log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(grads, torch.autograd.grad(plain, weights))


def test_batches_are_predicted_together_and_counted_apart(network: nn.Module) -> None:
    images = [torch.randn(4, 3, 2, 2), torch.randn(1, 3, 2, 2)]
    sizes: list[list[int]] = []

    def classify(moved: list[Tensor]) -> list[Tensor]:
        sizes.append([len(each) for each in moved])
        return [network(each) for each in moved]

    losses = virtual_adversarial(classify, images, [network(x) for x in images], 1.0)
    assert sizes == [[4, 1]] * 2
    assert [loss.shape for loss in losses] == [(), ()]
    assert all(float(loss.detach()) > 0 for loss in losses)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e30])
def test_a_network_that_predictions_all_the_same_or_wildly_has_a_finite_loss(scale: float) -> None:
    layer = nn.Linear(12, 3)
    layer.weight.data *= scale
    x = torch.randn(2, 3, 2, 2)

    def classify(images: list[Tensor]) -> list[Tensor]:
        return [layer(images[0].flatten(1))]

    (loss,) = virtual_adversarial(classify, [x], classify([x]), 3.5)
    grads = torch.autograd.grad(loss, list(layer.parameters()))
    assert loss.isfinite()
    assert all(grad.isfinite().all() for grad in grads)
    if scale == 0:
        assert float(loss.detach()) == 0
