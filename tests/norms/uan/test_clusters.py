"""The clusters of a layer: how they start, and how they follow the data."""

import copy

import pytest
import torch

from uan_da.norms import UAN1d
from uan_da.norms.uan.clusters import PRIOR_FLOOR

ASSIGNMENTS = ["sample", "element"]


def test_the_first_batch_starts_the_clusters_and_leaves_the_running_statistics() -> None:
    layer = UAN1d(4, num_clusters=3, em_rate=0.0, momentum=0.0)
    x = torch.randn(16, 4, 3) * 2 + 50
    random_state = torch.get_rng_state()
    layer(x)
    assert torch.equal(torch.get_rng_state(), random_state)
    torch.testing.assert_close(layer.mean.detach().mean(0), x.mean((0, 2)))
    torch.testing.assert_close(layer.log_var.detach().exp()[1], x.var((0, 2), correction=0))
    assert len(layer.mean.unique(dim=0)) == 3
    assert not layer.running_mean.any()
    assert (layer.running_var == 1).all()
    before = layer.mean.detach().clone()
    layer(x + 100)
    assert torch.equal(layer.mean, before)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("shape", [(1, 4), (1, 4, 1), (1, 4, 5)])
def test_a_first_batch_of_one_sample(shape: tuple[int, ...], k: int, assignment: str) -> None:
    layer = UAN1d(4, num_clusters=k, assignment=assignment)
    x = torch.randn(shape) + 7
    assert layer(x).isfinite().all()
    assert layer.initialized
    assert all(value.isfinite().all() for value in layer.state_dict().values())
    assert layer(torch.randn(8, *shape[1:])).isfinite().all()
    assert len(layer.mean.unique(dim=0)) == k


def test_clusters_find_the_modes() -> None:
    x = torch.cat([torch.randn(48, 4, 8) - 20, torch.randn(16, 4, 8) * 3 + 20])
    for assignment in ASSIGNMENTS:
        layer = UAN1d(4, num_clusters=2, assignment=assignment)
        for _ in range(200):
            layer(x)
        mean, order = layer.mean.detach().sort(0)  # under element assignment each channel has its own order
        torch.testing.assert_close(mean.mean(1), torch.tensor([-20.0, 20.0]), atol=0.5, rtol=0)
        var = layer.log_var.detach().exp().gather(0, order)
        expected = torch.stack([x[:48].var(), x[48:].var()])
        torch.testing.assert_close(var.mean(1), expected, rtol=0.05, atol=0)
        if assignment == "sample":
            prior = layer.prior_logits.detach().softmax(0)[order[:, 0]]
            torch.testing.assert_close(prior, torch.tensor([0.75, 0.25]), atol=0.01, rtol=0)


@pytest.mark.parametrize("assignment", ASSIGNMENTS)
def test_one_step_of_expectation_maximization(assignment: str) -> None:
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    layer = UAN1d(4, num_clusters=3, assignment=assignment, sharpness=2.0, em_rate=0.25, dtype=torch.float64)
    layer(x)
    for parameter in layer.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    layer.step_mean.zero_(), layer.step_var.zero_(), layer.step_prior.zero_()
    before = copy.deepcopy(layer)
    tau = layer.responsibilities(x)
    tau = tau if assignment == "element" else tau.T[:, :, None, None].expand(3, *x.shape)
    weight = tau.sum((1, 3))
    mean = (tau * x).sum((1, 3)) / weight
    var = (tau * (x - mean[:, None, :, None]).square()).sum((1, 3)) / weight
    layer(x)
    layer(x[:0])
    assert torch.equal(layer.mean, before.mean)  # the step is taken by the next forward that sees data
    layer(x)
    torch.testing.assert_close(layer.mean.detach(), 0.75 * before.mean.detach() + 0.25 * mean)
    expected = 0.75 * before.log_var.detach().exp() + 0.25 * var
    torch.testing.assert_close(layer.log_var.detach().exp(), expected)
    prior = layer.prior_logits.detach().softmax(0) * (1 - PRIOR_FLOOR) + PRIOR_FLOOR / 3
    old = before.prior_logits.detach().softmax(0) * (1 - PRIOR_FLOOR) + PRIOR_FLOOR / 3
    torch.testing.assert_close(prior, 0.75 * old + 0.25 * tau.mean((1, 2, 3)))


def test_without_em_only_backpropagation_moves_the_clusters() -> None:
    layer = UAN1d(4, em_rate=0.0)
    x = torch.randn(6, 4, 3)
    layer(x)
    before = layer.mean.detach().clone()
    layer(x + 1).square().sum().backward()
    assert torch.equal(layer.mean, before)
    assert layer.mean.grad.any()


def test_a_dead_cluster_can_be_found_again() -> None:
    """Its prior keeps its floor, so that data near it is its own."""
    x = torch.randn(32, 4, 3)
    layer = UAN1d(4, num_clusters=2)
    layer(x)
    with torch.no_grad():
        layer.mean.copy_(torch.tensor([0.0, 100.0])[:, None].expand(2, 4))
    for _ in range(500):
        layer(x)
    assert layer.prior_logits.isfinite().all()
    assert layer.responsibilities(x + 100)[:, 1].min() > 0.99
