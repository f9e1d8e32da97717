"""DTN, the network of the adaptation papers for SVHN."""

from itertools import pairwise

from torch import nn


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
