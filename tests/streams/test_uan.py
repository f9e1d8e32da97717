import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from uan_da.models.classifier import Classifier
from uan_da.streams.clusters import Assignment, ClusterNorm, log_likelihood
from uan_da.streams.label_shift import LabelShift
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.uan import UANOnline
from uan_da.streams.norm import image_moments, mixed

Double = torch.float64


def clusters(
    count: int, novelty: float = 0.05, memory: float = 1e9, prior: float = 0.0, own: float = 0.0
) -> Assignment:
    return Assignment(count, sharpness=50.0, novelty=novelty, memory=memory, prior=prior, own=own)


def layer(assignment: Assignment, channels: int = 3) -> ClusterNorm:
    bn = nn.BatchNorm2d(channels).double()
    bn.running_mean, bn.running_var = torch.rand(channels, dtype=Double), torch.rand(channels, dtype=Double) + 0.5
    return ClusterNorm(bn.requires_grad_(False), assignment)


def batch(seed: int, shift: float = 0.0, scale: float = 1.0) -> Tensor:
    return scale * torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=Double) + shift


def moments_of(norm: ClusterNorm) -> tuple[Tensor, Tensor]:
    """Means and variances of the clusters, ``(K, C)``."""
    first, second = norm.clusters[1:].chunk(2, 1)
    return norm.source_mean + first, second - first.square()


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
    found = UANOnline(copy.deepcopy(network), 3, surroundings, prior=1e9, own=0.0, label_shift=False).predict(
        images(6, 0)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_one_cluster_has_the_moments_of_all_images_so_far() -> None:
    norm = layer(clusters(1))
    parts = [batch(0), batch(1, 3.0), batch(2, -1.0, 4.0)[:1]]
    for part in parts:
        y = forward(norm, part)
    everything = torch.cat(parts)
    means, variances = moments_of(norm)
    torch.testing.assert_close(means[0], everything.mean((0, 2, 3)))
    torch.testing.assert_close(variances[0], everything.var((0, 2, 3), correction=0))
    assert norm.assignment.count.tolist() == pytest.approx([13.0])
    expected = nn.functional.batch_norm(parts[-1], means[0], variances[0], norm.weight, norm.bias, eps=norm.eps)
    torch.testing.assert_close(y, expected)


def test_two_conditions_get_clusters_of_their_own() -> None:
    norm = layer(clusters(4, 2.0))
    dark, bright = [batch(seed, -20.0) for seed in range(3)], [batch(seed + 5, 20.0) for seed in range(3)]
    for one, other in zip(dark, bright, strict=True):
        forward(norm, torch.cat([one, other]))
    assert norm.assignment.is_open.tolist() == [True, True, True, False]
    assert norm.assignment.count.sum() == pytest.approx(36.0)
    filled = norm.assignment.count > 1
    means = sorted(moments_of(norm)[0][filled].mean(1).tolist())
    expected = [torch.cat(each).mean().item() for each in (dark, bright)]
    assert means == pytest.approx(expected)


def test_memory_bounds_what_the_past_counts_for() -> None:
    norm = layer(clusters(1, memory=6.0))
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
    means, variances = moments_of(norm)
    torch.testing.assert_close(means[0], expected[0])
    torch.testing.assert_close(variances[0], expected[1])


def test_prior_and_own_shrink_toward_the_source_and_the_image() -> None:
    norm = layer(clusters(1, prior=6.0, own=0.25))
    x = batch(0, 2.0)
    y = forward(norm, x)
    values = torch.cat([torch.full((1,), 0.5)] * 2).double()
    assert values.sum() == 1  # six images of the source, six of the batch
    mean = (norm.source_mean + x.mean((0, 2, 3))) / 2
    var = (norm.source_var + x.var((0, 2, 3), correction=0)) / 2 + (norm.source_mean - x.mean((0, 2, 3))).square() / 4
    for n in range(6):
        own_mean, own_var = x[n].mean((1, 2)), x[n].var((1, 2), correction=0)
        m, v = mixed(mean, var, own_mean, own_var, 0.25)
        expected = (x[n] - m[:, None, None]) / (v + norm.eps).sqrt()[:, None, None]
        torch.testing.assert_close(y[n], expected)


def test_the_first_layer_assigns_for_all() -> None:
    assignment = clusters(4, 0.3)
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
    norm = layer(clusters(4, prior=8.0, own=0.2))
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


def test_the_likelihood_is_the_mean_over_an_images_values() -> None:
    origin, x = torch.tensor([3.0, -1.0, 0.0], dtype=Double), batch(0, 1.0, 2.0)
    mean, var = torch.rand(4, 3, dtype=Double), torch.rand(4, 3, dtype=Double) + 0.1
    first, v = image_moments(x, origin)
    shifted = mean - origin
    found = log_likelihood(
        torch.cat([first, v + first.square()], 1), torch.cat([shifted, var + shifted.square()], 1), 0.01
    )
    for k in range(4):
        normal = torch.distributions.Normal(mean[k, :, None, None], (var[k] + 0.01).sqrt()[:, None, None])
        expected = normal.log_prob(x).mean((1, 2, 3)) + 0.5 * torch.log(torch.tensor(2 * torch.pi, dtype=Double))
        torch.testing.assert_close(found[:, k], expected)


@pytest.mark.parametrize("format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("shift", [0.0, 1e3])
def test_moments_of_images(format: torch.memory_format, shift: float) -> None:
    x = (torch.randn(6, 5, 4, 3, generator=torch.Generator().manual_seed(0)) + shift).contiguous(memory_format=format)
    origin = torch.randn(5) + shift
    mean, var = image_moments(x, origin)
    torch.testing.assert_close(mean.double(), x.double().mean((2, 3)) - origin, rtol=1e-4, atol=1e-3 if shift else 1e-5)
    torch.testing.assert_close(var.double(), x.double().var((2, 3), correction=0), rtol=1e-3, atol=1e-5)
    assert image_moments(torch.randn(4, 5))[1].abs().sum() == 0


def test_moments_of_images_have_a_gradient() -> None:
    seen = torch.randn(2, 5, 4, 3).contiguous(memory_format=torch.channels_last).requires_grad_()
    image_moments(seen)[1].sum().backward()  # type: ignore[no-untyped-call]
    assert seen.grad is not None


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_moments_of_images_in_half_precision(dtype: torch.dtype) -> None:
    x = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    mean, _ = image_moments(x.to(dtype))
    torch.testing.assert_close(mean.float(), x.mean((2, 3)), atol=2e-2, rtol=2e-2)


def test_with_label_shift_predictions_follow_the_classes_proportions(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    made = [UANOnline(copy.deepcopy(network), 3, surroundings, label_shift=on) for on in (False, True)]
    pixels = images(6, 0)
    plain, shifted = (method.predict(pixels) for method in made)
    expected = LabelShift(3).corrected(plain)
    torch.testing.assert_close(shifted, expected)
