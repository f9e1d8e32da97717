"""A small perceptron, for features instead of images."""

from pydantic import PositiveInt
from torch import nn


def mlp(channels: int, *, hidden: tuple[PositiveInt, ...] = (128, 128)) -> nn.Module:
    """Linear, BatchNorm, ReLU for each width: features ``(N, channels[, 1, 1])`` to ``(N, hidden[-1])``."""
    layers: list[nn.Module] = [nn.Flatten()]
    for before, after in zip((channels, *hidden), hidden, strict=False):
        layers += [nn.Linear(before, after), nn.BatchNorm1d(after), nn.ReLU()]
    return nn.Sequential(*layers)
