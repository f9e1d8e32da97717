"""The network of UAN's classification tables."""

from collections import OrderedDict
from itertools import pairwise

from torch import nn


def shallow_cnn(channels: int) -> nn.Sequential:
    """Shallow CNN of UAN's classification tables (Faye et al., IJCNN 2024, arXiv:2409.04757).

    Four 5×5 convolutions of 64, 128, 128 and 256 channels, each with its norm and ReLU; the first three are pooled by
    3×3 with stride 2, the last is averaged over 4×4 with stride 1. The layers are called ``norm1`` … ``norm4``: the
    paper replaces the second, which is ``norm.where=re:norm2``. From the authors' notebook: images are resized to
    72×72, ε is 1e-3, weights start by Xavier's rule. The biases that a norm removes are left out.

    Args:
        channels: of the input images ``(N, channels, H, W)``, H and W at least 25.

    Returns:
        A network to features ``(N, 9216)`` at 72×72, ``(N, 256)`` at 32×32.
    """
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, (before, after) in enumerate(pairwise((channels, 64, 128, 128, 256)), start=1):
        convolution = nn.Conv2d(before, after, 5, padding=2, bias=False)
        nn.init.xavier_uniform_(convolution.weight)
        layers[f"conv{number}"] = convolution
        layers[f"norm{number}"] = nn.BatchNorm2d(after, eps=1e-3)
        layers[f"relu{number}"] = nn.ReLU(inplace=True)
        layers[f"pool{number}"] = nn.MaxPool2d(3, stride=2, padding=1) if number < 4 else nn.AvgPool2d(4, stride=1)
    layers["flatten"] = nn.Flatten()
    return nn.Sequential(layers)
