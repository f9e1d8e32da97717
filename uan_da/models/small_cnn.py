"""The backbone of the digits recipes."""

from itertools import pairwise

from torch import nn


def small_cnn(channels: int, *, width: int = 16) -> nn.Sequential:
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
