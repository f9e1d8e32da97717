import pytest
import torch
from torch import nn

from uan_da.models.dtn import dtn


def test_parameters_are_those_of_the_published_layers() -> None:
    convolutions = sum(25 * before * after + after + 2 * after for before, after in ((3, 64), (64, 128), (128, 256)))
    count = sum(parameter.numel() for parameter in dtn(3).parameters())
    assert count == convolutions + 4096 * 512 + 512 + 2 * 512


def test_at_32_the_maps_are_four_by_four_and_stay_what_they_are() -> None:
    net = dtn(3).eval()
    pool = next(index for index, layer in enumerate(net) if isinstance(layer, nn.AdaptiveAvgPool2d))
    maps = net[:pool](torch.randn(2, 3, 32, 32))
    assert maps.shape == (2, 256, 4, 4)
    assert torch.equal(net[pool](maps), maps)


@pytest.mark.parametrize("size", [1, 28, 32, 64])
def test_any_size(size: int) -> None:
    assert dtn(1)(torch.randn(2, 1, size, size)).shape == (2, 512)
