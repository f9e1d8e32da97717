import pytest
import torch
from torch import nn

from uan_da.norms.baselines.group import group_norm
from uan_da.norms.baselines.layer import channel_layer_norm, layer_norm


@pytest.mark.parametrize(("channels", "asked", "groups"), [(16, 8, 8), (12, 8, 4), (7, 8, 1), (6, 1, 1)])
def test_each_image_by_the_moments_of_its_groups(channels: int, asked: int, groups: int) -> None:
    bn = nn.BatchNorm2d(channels, eps=1e-3)
    bn.weight.data.normal_()
    bn.bias.data.normal_()
    layer, x = group_norm(bn, num_groups=asked), torch.randn(5, channels, 3, 4) * 2 + 1
    assert layer.num_groups == groups
    parts = x.reshape(5, groups, -1)
    z = (parts - parts.mean(2, keepdim=True)) / (parts.var(2, correction=0, keepdim=True) + 1e-3).sqrt()
    expected = z.reshape_as(x) * bn.weight[:, None, None] + bn.bias[:, None, None]
    torch.testing.assert_close(layer(x), expected)


def test_options_of_the_batch_norm_are_kept() -> None:
    bn = nn.BatchNorm2d(8, affine=False)
    assert group_norm(bn).weight is None
    bn = nn.BatchNorm2d(8, dtype=torch.float64)
    bn.weight.requires_grad_(False)
    layer = group_norm(bn)
    assert layer.weight.dtype == torch.float64
    assert layer.weight is not bn.weight
    assert not layer.weight.requires_grad
    with pytest.raises(ValueError, match="`num_groups` to be an integer of at least 1, but got 0"):
        group_norm(bn, num_groups=0)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4), (5, 6, 4, 3), (5, 6, 2, 4, 3)])
def test_layer_norm_over_all_values_of_an_image(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * 2 + 1
    layer = layer_norm(nn.BatchNorm2d(6))
    torch.testing.assert_close(layer(x), nn.functional.layer_norm(x, shape[1:]))


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 4), (5, 6, 4, 3), (5, 6, 2, 4, 3)])
def test_layer_norm_over_the_channels_of_a_position(shape: tuple[int, ...]) -> None:
    x = torch.randn(shape) * 2 + 1
    bn = nn.BatchNorm2d(6, eps=1e-3)
    bn.weight.data.normal_()
    layer = channel_layer_norm(bn)
    var, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
    weight = bn.weight.view(6, *[1] * (len(shape) - 2))
    torch.testing.assert_close(layer(x), (x - mean) / (var + 1e-3).sqrt() * weight)
    assert channel_layer_norm(nn.BatchNorm2d(6, affine=False)).weight is None
