"""Backbones of the digits recipes and of the digits benchmarks."""

from itertools import pairwise

from pydantic import PositiveInt
from torch import nn


def small_cnn(channels: int, *, width: PositiveInt = 16) -> nn.Sequential:
    """Three 3×3 convolutions of ``width``, 2·``width`` and 4·``width`` channels, each normalised and pooled.

    Args:
        channels: of the input images ``(N, channels, H, W)``, H and W at least 8.

    Returns:
        A network to features ``(N, 4·width·(H/8)·(W/8))``, H/8 and W/8 rounded down.
    """
    widths = (channels, width, 2 * width, 4 * width)
    layers: list[nn.Module] = []
    for before, after in pairwise(widths):
        layers += [
            nn.Conv2d(before, after, 3, padding=1, bias=False),
            nn.BatchNorm2d(after, eps=1e-3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
        ]
    return nn.Sequential(*layers, nn.Flatten())


def lenet(channels: int) -> nn.Sequential:
    """LeNet of the digits benchmarks (LeCun et al., 1998, with the widths of Caffe's LeNet).

    Conv 5×5, 20 - pool - ReLU - conv 5×5, 50 - channel dropout .5 - pool - ReLU - linear 500 - ReLU - dropout .5, as in
    TLLib. It has no normalisation layer.

    Args:
        channels: of the input images ``(N, channels, H, W)``, H and W at least 16. The published size is 28; the
            maps of another size are averaged to the 4×4 of that one.

    Returns:
        A network to features ``(N, 500)``.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 20, 5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.Conv2d(20, 50, 5),
        nn.Dropout2d(0.5),
        nn.MaxPool2d(2),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(4),  # the identity at 28×28
        nn.Flatten(),
        nn.Linear(50 * 4 * 4, 500),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
    )


def dtn(channels: int) -> nn.Sequential:
    """DTN of the digits benchmarks, for SVHN → MNIST, as in SHOT (arXiv:2002.08546) and TLLib.

    Three 5×5 convolutions of stride 2 and 64, 128 and 256 channels, each with BatchNorm, channel dropout (.1, .3, .5)
    and ReLU; linear 512 - BatchNorm - ReLU - dropout .5.

    Args:
        channels: of the input images ``(N, channels, H, W)``. The published size is 32; the maps of another size are
            averaged to the 4×4 of that one.

    Returns:
        A network to features ``(N, 512)``.
    """
    layers: list[nn.Module] = []
    for (before, after), dropout in zip(pairwise((channels, 64, 128, 256)), (0.1, 0.3, 0.5), strict=True):
        layers += [
            nn.Conv2d(before, after, 5, stride=2, padding=2),
            nn.BatchNorm2d(after),
            nn.Dropout2d(dropout),
            nn.ReLU(inplace=True),
        ]
    layers += [nn.AdaptiveAvgPool2d(4), nn.Flatten()]  # the identity at 32×32
    layers += [nn.Linear(256 * 4 * 4, 512), nn.BatchNorm1d(512), nn.ReLU(inplace=True), nn.Dropout(0.5)]
    return nn.Sequential(*layers)
