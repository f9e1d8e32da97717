import pytest
import torch
from torch import nn

from uan_da.models.lenet import lenet


def test_parameters_are_those_of_the_published_layers() -> None:
    count = sum(parameter.numel() for parameter in lenet(1).parameters())
    assert count == 20 * 25 + 20 + 50 * 20 * 25 + 50 + 800 * 500 + 500


def test_at_28_the_maps_are_four_by_four_and_stay_what_they_are() -> None:
    net = lenet(1).eval()
    pool = next(index for index, layer in enumerate(net) if isinstance(layer, nn.AdaptiveAvgPool2d))
    maps = net[:pool](torch.randn(2, 1, 28, 28))
    assert maps.shape == (2, 50, 4, 4)
    assert torch.equal(net[pool](maps), maps)


@pytest.mark.parametrize("size", [16, 28, 32, 65])
def test_any_size_from_16_on(size: int) -> None:
    assert lenet(3)(torch.randn(2, 3, size, size)).shape == (2, 500)
