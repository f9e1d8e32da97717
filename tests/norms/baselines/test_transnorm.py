import pytest
import torch
from torch import Tensor, nn

from uan_da.norms import domain_context
from uan_da.norms.baselines.transnorm import TransNorm

EPS = 1e-5


def weights(source: tuple[Tensor, Tensor], target: tuple[Tensor, Tensor]) -> Tensor:
    """1 + α from the (mean, unbiased variance) of two domains."""
    distance = (source[0] / (source[1] + EPS).sqrt() - target[0] / (target[1] + EPS).sqrt()).abs()
    alpha = len(distance) / (1 + distance) / (1 / (1 + distance)).sum()
    return (1 + alpha)[:, None, None]


def moments(x: Tensor) -> tuple[Tensor, Tensor]:
    return x.mean((0, 2, 3)), x.var((0, 2, 3), correction=1)


def layer_of(channels: int = 4) -> tuple[nn.Module, nn.BatchNorm2d]:
    bn = nn.BatchNorm2d(channels)
    bn.weight.data.normal_()
    bn.bias.data.normal_()
    return TransNorm(bn), bn


def test_joint_training_is_the_formula() -> None:
    layer, bn = layer_of()
    source, target = torch.randn(5, 4, 3, 3), torch.randn(7, 4, 3, 3) * 2 + 1
    with domain_context(layer, torch.tensor([0] * 5 + [1] * 7)):
        y = layer(torch.cat([source, target]))
    factor = weights(moments(source), moments(target))
    with torch.no_grad():
        torch.testing.assert_close(y[:5], bn(source) * factor)
        torch.testing.assert_close(y[5:], bn(target) * factor)


def test_momentum_is_the_weight_of_the_new_batch() -> None:
    """Not of the past, as in a widespread port."""
    layer, _ = layer_of()
    source, target = torch.randn(5, 4, 3, 3) + 3, torch.randn(5, 4, 3, 3) - 3
    with domain_context(layer, torch.tensor([0] * 5 + [1] * 5)):
        layer(torch.cat([source, target]))
    for branch, part in zip(layer.branches, (source, target), strict=True):
        mean, var = moments(part)
        torch.testing.assert_close(branch.running_mean, 0.1 * mean)
        torch.testing.assert_close(branch.running_var, 0.9 + 0.1 * var)


def test_evaluation_uses_the_targets_statistics_for_all_images_and_needs_no_context() -> None:
    layer, bn = layer_of()
    for branch in layer.branches:
        branch.running_mean.normal_()
        branch.running_var.uniform_(0.5, 2)
    source, target = ((branch.running_mean, branch.running_var) for branch in layer.branches)
    x = torch.randn(5, 4, 3, 3)
    bn.running_mean, bn.running_var = target
    expected = bn.eval()(x) * weights(source, target)
    torch.testing.assert_close(layer.eval()(x), expected)
    with domain_context(layer, 0):
        torch.testing.assert_close(layer(x), expected)
    with pytest.raises(ValueError, match="TransNorm needs the domain"):
        layer.train()(x)


def test_a_forward_of_one_domain_compares_with_the_others_running_statistics() -> None:
    layer, bn = layer_of()
    layer.branches[1].running_mean.normal_()
    source = torch.randn(5, 4, 3, 3)
    with domain_context(layer, 0):
        y = layer(source)
    running = layer.branches[1].running_mean, layer.branches[1].running_var
    torch.testing.assert_close(y, bn(source) * weights(moments(source), running))


def test_no_gradient_goes_through_the_weights_of_the_channels() -> None:
    layer, bn = layer_of()
    x = torch.randn(8, 4, 3, 3, requires_grad=True)
    index = torch.arange(8) % 2
    with domain_context(layer, index):
        (layer(x) * torch.arange(9.0).view(3, 3)).sum().backward()
    twin = x.detach().clone().requires_grad_()
    factor = weights(moments(twin[index == 0].detach()), moments(twin[index == 1].detach()))
    for domain in (0, 1):
        (bn(twin[index == domain]) * factor * torch.arange(9.0).view(3, 3)).sum().backward()
    torch.testing.assert_close(x.grad, twin.grad)


def test_domains_that_agree_give_twice_batch_norm() -> None:
    layer, bn = layer_of()
    x = torch.randn(4, 4, 3, 3)
    with domain_context(layer, torch.tensor([0] * 4 + [1] * 4)):
        y = layer(torch.cat([x, x]))
    torch.testing.assert_close(y[:4], 2 * bn(x), rtol=1e-5, atol=1e-5)


def test_all_sources_are_one_domain() -> None:
    layer = TransNorm(nn.BatchNorm2d(4), num_domains=3)
    x = torch.randn(6, 4, 3, 3)
    with domain_context(layer, torch.tensor([0, 0, 1, 1, 2, 2])):
        layer(x)
    torch.testing.assert_close(layer.branches[0].running_mean, 0.1 * x[:4].mean((0, 2, 3)))


def test_running_statistics_are_needed() -> None:
    with pytest.raises(ValueError, match="made without them"):
        TransNorm(nn.BatchNorm2d(4, track_running_stats=False))
