import pytest
import torch
from torch import nn

from uan_da.models.classifier import build_model
from uan_da.models.shallow_cnn import shallow_cnn
from uan_da.norms import UAN2d
from uan_da.recipe import load_recipe


@pytest.mark.parametrize(("size", "features"), [(72, 9216), (32, 256), (25, 256)])
def test_features(size: int, features: int) -> None:
    assert shallow_cnn(3).eval()(torch.randn(1, 3, size, size)).shape == (1, features)


def test_parameters() -> None:
    pairs = ((3, 64), (64, 128), (128, 128), (128, 256))
    expected = sum(25 * before * after + 2 * after for before, after in pairs)
    assert sum(parameter.numel() for parameter in shallow_cnn(3).parameters()) == expected


def test_the_second_norm_alone_can_be_replaced() -> None:
    overrides = ["backbone=shallow_cnn", "norm={name: uan, num_clusters: 3, where: 're:norm2'}", "input.size=32"]
    model = build_model(load_recipe("digits", overrides), 10)
    kinds = [type(layer) for layer in model.modules() if isinstance(layer, nn.BatchNorm2d | UAN2d)]
    assert kinds == [nn.BatchNorm2d, UAN2d, nn.BatchNorm2d, nn.BatchNorm2d]
