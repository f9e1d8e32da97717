import math

import pytest
import torch
from torch import nn

from uan_da.norms import domain_context
from uan_da.norms.baselines.context import acn, cn


def trained_batch_norm() -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(4)
    bn.weight.data.normal_()
    bn.bias.data.normal_()
    bn(torch.randn(8, 4, 3, 3) * 2 + 1)
    return bn


def test_cn_is_a_batch_norm_per_context_scaled_by_its_prior() -> None:
    layer = cn(nn.BatchNorm2d(4, eps=1e-3), num_domains=3)
    x, index = torch.randn(9, 4, 3, 3) * 2 + 1, torch.tensor([2, 0, 1, 0, 2, 1, 2, 0, 1])
    with domain_context(layer, index):
        y = layer(x)
    for context in range(3):
        part = x[index == context]
        mean, var = part.mean((0, 2, 3), keepdim=True), part.var((0, 2, 3), correction=0, keepdim=True)
        torch.testing.assert_close(y[index == context], math.sqrt(3) * (part - mean) / (var + 1e-3).sqrt())


def test_acn_is_a_learned_affine_map_per_context() -> None:
    layer = acn(nn.BatchNorm2d(4, eps=1e-3))
    for branch in layer.branches:
        branch.mean.data.normal_()
        branch.log_std.data.normal_()
    layer.weight.data.normal_()
    x, index = torch.randn(4, 4, 3, 3) * 2 + 1, torch.tensor([1, 0, 1, 0])
    for training in (True, False):
        with domain_context(layer.train(training), index):
            y = layer(x)
        for n, context in enumerate(index.tolist()):
            branch = layer.branches[context]
            for c in range(4):
                std = branch.log_std[c].exp() + 1e-3
                expected = layer.weight[c] * (x[n, c] - branch.mean[c]) / std + layer.bias[c]
                torch.testing.assert_close(y[n, c], expected)
    assert not list(layer.buffers())


@pytest.mark.parametrize("make", [cn, acn])
def test_a_pretrained_norm_keeps_its_function_on_every_domain(make: object) -> None:
    bn = trained_batch_norm().eval()
    layer, x = make(bn).eval(), torch.randn(8, 4, 3, 3)
    with domain_context(layer, torch.arange(8) % 2):
        torch.testing.assert_close(layer(x), bn(x), rtol=1e-5, atol=1e-5)


def test_acn_without_an_affine_is_the_papers() -> None:
    names = [name for name, _ in acn(nn.BatchNorm2d(4, affine=False)).named_parameters()]
    assert names == ["branches.0.mean", "branches.0.log_std", "branches.1.mean", "branches.1.log_std"]
