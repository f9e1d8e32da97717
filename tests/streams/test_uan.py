import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from uan_da.models.classifier import Classifier
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.uan import Assignment, ClusterNorm, UANOnline
from uan_da.streams.norm import ImageMoments, mixed

Double = torch.float64


def layer(assignment: Assignment, prior: float = 0.0, own: float = 0.0, channels: int = 3) -> ClusterNorm:
    bn = nn.BatchNorm2d(channels).double()
    bn.running_mean, bn.running_var = torch.rand(channels, dtype=Double), torch.rand(channels, dtype=Double) + 0.5
    return ClusterNorm(bn.requires_grad_(False), assignment, prior, own)


def batch(seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=Double) + shift


def forward(norm: ClusterNorm, x: Tensor) -> Tensor:
    norm.assignment.begin()
    y: Tensor = norm(x)
    norm.assignment.end()
    return y


def test_the_networks_function_is_kept_at_the_start(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    with torch.no_grad():
        expected = network(surroundings.seen(images(6, 0))).logits
    found = UANOnline(copy.deepcopy(network), 3, surroundings, prior=1e9, own=0.0).answer(images(6, 0))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_cluster_has_the_moments_of_all_images_so_far() -> None:
    norm = layer(Assignment(1, 50.0, 0.05, 1e9))
    parts = [batch(0), batch(1, 3.0), batch(2, -1.0, 4.0)[:1]]
    for part in parts:
        y = forward(norm, part)
    everything = torch.cat(parts)
    torch.testing.assert_close(norm.means[0], everything.mean((0, 2, 3)))
    torch.testing.assert_close(norm.vars[0], everything.var((0, 2, 3), correction=0))
    assert norm.assignment.count.tolist() == pytest.approx([13.0])
    expected = nn.functional.batch_norm(parts[-1], norm.means[0], norm.vars[0], norm.weight, norm.bias, eps=norm.eps)
    torch.testing.assert_close(y, expected)


def test_two_conditions_get_clusters_of_their_own() -> None:
    norm = layer(Assignment(4, 50.0, 2.0, 1e9))
    dark, bright = [batch(seed, -20.0) for seed in range(3)], [batch(seed + 5, 20.0) for seed in range(3)]
    for one, other in zip(dark, bright, strict=True):
        forward(norm, torch.cat([one, other]))
    assert norm.assignment.is_open.tolist() == [True, True, True, False]
    assert norm.assignment.count.sum() == pytest.approx(36.0)
    filled = norm.assignment.count > 1
    means = sorted(norm.means[filled].mean(1).tolist())
    expected = [torch.cat(each).mean().item() for each in (dark, bright)]
    assert means == pytest.approx(expected)


def test_memory_bounds_what_the_past_counts_for() -> None:
    norm = layer(Assignment(1, 50.0, 0.05, 6.0))
    for _ in range(3):
        forward(norm, batch(0))
    forward(norm, batch(1, 5.0))
    expected = mixed(
        batch(0).mean((0, 2, 3)),
        batch(0).var((0, 2, 3), correction=0),
        batch(1, 5.0).mean((0, 2, 3)),
        batch(1, 5.0).var((0, 2, 3), correction=0),
        torch.tensor(0.5, dtype=Double),
    )
    torch.testing.assert_close(norm.means[0], expected[0])
    torch.testing.assert_close(norm.vars[0], expected[1])


def test_prior_and_own_shrink_toward_the_source_and_the_image() -> None:
    norm = layer(Assignment(1, 50.0, 0.05, 1e9), prior=6.0, own=0.25)
    x = batch(0, 2.0)
    y = forward(norm, x)
    values = torch.cat([torch.full((1,), 0.5)] * 2).double()
    assert values.sum() == 1  # six images of the source, six of the batch
    mean = (norm.source_mean + x.mean((0, 2, 3))) / 2
    var = (norm.source_var + x.var((0, 2, 3), correction=0)) / 2 + (norm.source_mean - x.mean((0, 2, 3))).square() / 4
    for n in range(6):
        own_mean, own_var = x[n].mean((1, 2)), x[n].var((1, 2), correction=0)
        m, v = 0.75 * mean + 0.25 * own_mean, 0.75 * var + 0.25 * own_var
        expected = (x[n] - m[:, None, None]) / (v + norm.eps).sqrt()[:, None, None]
        torch.testing.assert_close(y[n], expected)


def test_the_first_layer_assigns_for_all() -> None:
    assignment = Assignment(4, 50.0, 0.3, 1e9)
    first, second = layer(assignment), layer(assignment, channels=5)
    assignment.begin()
    first(torch.cat([batch(0, -9.0), batch(1, 9.0)]))
    step = assignment.step
    second(torch.randn(12, 5, 2, 2, dtype=Double))
    assert assignment.step is step
    assert step is not None
    tau = step.tau_nk
    assert tau[:6].argmax(1).unique().tolist() != tau[6:].argmax(1).unique().tolist()
    torch.testing.assert_close(tau.sum(1), torch.ones(12, dtype=Double))


@pytest.mark.parametrize("fill", [0.0, 1e4, -1e-8])
def test_constant_images_are_numbers(fill: float) -> None:
    norm = layer(Assignment(4, 50.0, 0.05, 1e9), 8.0, 0.2)
    for _ in range(3):
        assert forward(norm, torch.full((2, 3, 4, 4), fill, dtype=Double)).isfinite().all()
    assert forward(norm, batch(0)).isfinite().all()


def test_batch_norm_of_vectors_keeps_the_sources_statistics(surroundings: Surroundings) -> None:
    norms = nn.BatchNorm2d(4), nn.BatchNorm1d(4)
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), norms[0], nn.AdaptiveAvgPool2d(1), nn.Flatten(), norms[1])
    model = Classifier(backbone, 4, 3)
    UANOnline(model, 3, surroundings)
    assert isinstance(backbone[4], nn.BatchNorm1d)
    assert isinstance(backbone[1], ClusterNorm)
    assert not backbone[4].training


def test_moments_in_reused_memory_are_those_of_each_image() -> None:
    moments = ImageMoments()
    for count, shift in ((6, 0.0), (3, 1e3), (8, 0.0)):
        x = (torch.randn(count, 5, 4, 3) + shift).contiguous(memory_format=torch.channels_last)
        mean, var = moments(x)
        torch.testing.assert_close(mean, x.mean((2, 3)))
        torch.testing.assert_close(var, x.var((2, 3), correction=0), rtol=1e-3, atol=1e-4)
    assert moments(torch.randn(4, 5))[1].abs().sum() == 0
    seen = torch.randn(2, 5, 4, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    moments(seen)[1].sum().backward()  # type: ignore[no-untyped-call]
    assert seen.grad is not None
