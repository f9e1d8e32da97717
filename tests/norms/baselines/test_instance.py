import pytest
import torch
from torch import nn

from uan_da.norms.baselines.instance import InstanceNorm, instance_norm


@pytest.mark.parametrize("shape", [(5, 6, 4), (5, 6, 4, 3), (5, 6, 2, 4, 3)])
def test_each_channel_of_each_image_by_its_own_moments(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * 2 + 1
    bn = nn.BatchNorm2d(6, eps=1e-3)
    bn.bias.data.normal_()
    layer = instance_norm(bn)
    var, mean = torch.var_mean(x, tuple(range(2, x.dim())), correction=0, keepdim=True)
    bias = bn.bias.view(6, *[1] * (x.dim() - 2))
    for training in (True, False):
        torch.testing.assert_close(layer.train(training)(x), (x - mean) / (var + 1e-3).sqrt() + bias)


def test_running_statistics_are_the_average_of_the_images() -> None:
    layer = instance_norm(nn.BatchNorm2d(3, momentum=1.0), track_running_stats=True)
    x = torch.randn(5, 3, 4, 4) * 2 + 1
    layer(x)
    mean, var = x.mean((0, 2, 3)), x.var((2, 3), correction=1).mean(0)
    y = layer.eval()(x)
    torch.testing.assert_close(y, (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt())


def test_running_statistics_are_taken_over() -> None:
    bn = nn.BatchNorm2d(3)
    bn(torch.randn(5, 3, 4, 4) * 2 + 1)
    x = torch.randn(5, 3, 4, 4)
    layer = instance_norm(bn, track_running_stats=True)
    torch.testing.assert_close(layer.eval()(x), bn.eval()(x))
    layer.running_mean.add_(1)
    assert not torch.equal(layer.running_mean, bn.running_mean)


def test_vectors_are_refused() -> None:
    """PyTorch would take them for one image without a batch."""
    layer = instance_norm(nn.BatchNorm1d(6))
    with pytest.raises(ValueError, match=r"needs positions.*got shape \(6, 6\)"):
        layer(torch.randn(6, 6))
    with pytest.raises(ValueError, match="expected 6 channels"):
        InstanceNorm(6)(torch.randn(2, 5, 3))
