import pytest
import torch
from torch import nn

from uan_da.norms.baselines.alpha_bn import alpha_bn


def seen() -> nn.BatchNorm2d:
    bn = nn.BatchNorm2d(3)
    bn.weight.data.normal_()
    bn.bias.data.normal_()
    bn(torch.randn(8, 3, 4, 4) * 2 + 1)
    return bn


@pytest.mark.parametrize("weight", [0.0, 0.3, 0.9, 1.0])
def test_evaluation_mixes_running_and_batch_statistics(weight: float) -> None:
    bn = seen().eval()
    layer, x = alpha_bn(bn, source_weight=weight).eval(), torch.randn(5, 3, 4, 4) * 3 - 4
    mean = weight * bn.running_mean + (1 - weight) * x.mean((0, 2, 3))
    var = weight * bn.running_var + (1 - weight) * x.var((0, 2, 3), correction=0)
    expected = nn.functional.batch_norm(x, mean, var, bn.weight, bn.bias)
    torch.testing.assert_close(layer(x), expected)
    if weight == 1.0:
        torch.testing.assert_close(layer(x), bn(x))
    if weight == 0.0:
        torch.testing.assert_close(layer(x), bn.train()(x))


def test_training_is_batch_norm() -> None:
    bn = seen()
    layer, x = alpha_bn(bn), torch.randn(5, 3, 4, 4)
    assert torch.equal(layer(x), bn(x))
    assert torch.equal(layer.norm.running_var, bn.running_var)


def test_one_value_a_channel_has_no_variance_but_an_output() -> None:
    layer = alpha_bn(nn.BatchNorm1d(3)).eval()
    assert layer(torch.randn(1, 3)).isfinite().all()


def test_half_precision() -> None:
    layer, x = alpha_bn(seen()).eval(), (torch.randn(5, 3, 4, 4) * 300 + 2000).half()
    y = layer(x)
    assert y.dtype == torch.float16
    torch.testing.assert_close(y.float(), layer(x.float()), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("weight", [-0.1, 1.1])
def test_bad_weight(weight: float) -> None:
    with pytest.raises(ValueError, match="`source_weight` to be between 0 and 1"):
        alpha_bn(nn.BatchNorm2d(3), source_weight=weight)
