"""DenseNet for images of CIFAR's size."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

GROWTH = 12

Dropout = Annotated[float, Field(ge=0, lt=1)]


def densenet40(channels: int, *, compressed: bool = True, dropout: Dropout = 0.2) -> nn.Sequential:
    """DenseNet of 40 layers and growth 12, for 32×32 images (Huang et al., CVPR 2017, arXiv:1608.06993).

    Args:
        channels: of the input images ``(N, channels, H, W)``, H and W at least 4.
        compressed: the DenseNet-BC of UAN's tables: 1×1 convolutions of 48 channels before the 3×3 ones, and
            transitions that halve the channels (0.17 M parameters). False is the "DenseNet, L = 40, k = 12" of the
            DenseNet paper (1.0 M).
        dropout: after each convolution of a dense block. UAN's authors use .2, the DenseNet paper .2 without
            augmentation and 0 with it.

    Returns:
        A network to features ``(N, 132)``, or ``(N, 448)`` where it is not compressed.
    """
    return _densenet(channels, 40, compressed, dropout)


def densenet100(channels: int, *, compressed: bool = True, dropout: Dropout = 0.2) -> nn.Sequential:
    """DenseNet of 100 layers and growth 12, for 32×32 images (Huang et al., CVPR 2017, arXiv:1608.06993).

    :func:`densenet40` with more layers: features ``(N, 342)``, 0.8 M parameters (the paper's "DenseNet-BC, L = 100,
    k = 12"); not compressed, ``(N, 1168)`` and 7.0 M.
    """
    return _densenet(channels, 100, compressed, dropout)


def _densenet(channels: int, depth: int, compressed: bool, dropout: float) -> nn.Sequential:
    """``depth`` counts the convolutions on the longest path, and the classifier."""
    width = 2 * GROWTH if compressed else 16
    blocks: list[nn.Module] = [nn.Conv2d(channels, width, 3, padding=1, bias=False)]
    for number in range(3):
        for _ in range((depth - 4) // (6 if compressed else 3)):
            blocks.append(_Layer(width, compressed, dropout))
            width += GROWTH
        if number < 2:
            after = width // 2 if compressed else width
            blocks.append(nn.Sequential(*_normalised_convolution(width, after, 1), nn.AvgPool2d(2)))
            width = after
    blocks += [nn.BatchNorm2d(width), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
    network = nn.Sequential(*blocks)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight)
    return network


class _Layer(nn.Module):
    """One layer of a dense block: its ``GROWTH`` channels are appended to those that it reads."""

    def __init__(self, inputs: int, compressed: bool, dropout: float) -> None:
        super().__init__()
        layers, width = [], inputs
        if compressed:
            layers, width = _normalised_convolution(inputs, 4 * GROWTH, 1), 4 * GROWTH
        self.layers = nn.Sequential(*layers, *_normalised_convolution(width, GROWTH, 3), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """``(N, inputs, H, W)`` to ``(N, inputs + GROWTH, H, W)``."""
        return torch.cat([x, self.layers(x)], dim=1)


def _normalised_convolution(inputs: int, outputs: int, size: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, size, padding=size // 2, bias=False)
    return [nn.BatchNorm2d(inputs), nn.ReLU(inplace=True), convolution]
