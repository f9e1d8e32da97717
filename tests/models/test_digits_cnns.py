"""Backbones of the digits: their sizes and their published form."""

import pytest
import torch
from torch import nn

from uan_da.models.digits_cnns import dtn, lenet


def test_lenet_parameters_are_those_of_the_published_layers() -> None:
    count = sum(parameter.numel() for parameter in lenet(1).parameters())
    assert count == 20 * 25 + 20 + 50 * 20 * 25 + 50 + 800 * 500 + 500


def test_lenet_at_28_the_maps_are_four_by_four_and_stay_what_they_are() -> None:
    net = lenet(1).eval()
    pool = next(index for index, layer in enumerate(net) if isinstance(layer, nn.AdaptiveAvgPool2d))
    maps = net[:pool](torch.randn(2, 1, 28, 28))
    assert maps.shape == (2, 50, 4, 4)
    assert torch.equal(net[pool](maps), maps)


@pytest.mark.parametrize("size", [16, 28, 32, 65])
def test_lenet_any_size_from_16_on(size: int) -> None:
    assert lenet(3)(torch.randn(2, 3, size, size)).shape == (2, 500)


def test_dtn_parameters_are_those_of_the_published_layers() -> None:
    convolutions = sum(25 * before * after + after + 2 * after for before, after in ((3, 64), (64, 128), (128, 256)))
    count = sum(parameter.numel() for parameter in dtn(3).parameters())
    assert count == convolutions + 4096 * 512 + 512 + 2 * 512


def test_dtn_at_32_the_maps_are_four_by_four_and_stay_what_they_are() -> None:
    net = dtn(3).eval()
    pool = next(index for index, layer in enumerate(net) if isinstance(layer, nn.AdaptiveAvgPool2d))
    maps = net[:pool](torch.randn(2, 3, 32, 32))
    assert maps.shape == (2, 256, 4, 4)
    assert torch.equal(net[pool](maps), maps)


@pytest.mark.parametrize("size", [1, 28, 32, 64])
def test_dtn_any_size(size: int) -> None:
    assert dtn(1)(torch.randn(2, 1, size, size)).shape == (2, 512)
