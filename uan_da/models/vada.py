"""The convolutional networks of VADA and DIRT-T."""

import torch
from torch import Tensor, nn


class GaussianNoise(nn.Module):
    """Adds N(0, ``std``²) to every value in training; the identity in evaluation."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """``x`` of any shape."""
        return x + self.std * torch.randn_like(x) if self.training else x


def vada_small(channels: int) -> nn.Sequential:
    """The small network of VADA, for digits (Shu et al., ICLR 2018, arXiv:1802.08735).

    Three 3×3 convolutions of 64 channels, each with BatchNorm and leaky ReLU of slope .1, then pooling, dropout .5 and
    Gaussian noise of σ = 1; the same again; three more convolutions, and the average over the image. As in the authors'
    code, ε of BatchNorm is 1e-3 and the weights start by Xavier's rule; the biases that BatchNorm removes are left out.
    Their instance normalisation of the input is the recipe's ``norm.input=instance``, their BatchNorm on the logits its
    ``head.logits_norm=true``.

    Args:
        channels: of the input images ``(N, channels, H, W)``, H and W at least 4.

    Returns:
        A network to features ``(N, 64)``.
    """
    return _network(channels, (64, 64, 64))


def vada_large(channels: int) -> nn.Sequential:
    """The large network of VADA, for CIFAR-10 and STL-10 (Shu et al., ICLR 2018, arXiv:1802.08735).

    :func:`vada_small` with 96, 192 and 192 channels: a network to features ``(N, 192)``.
    """
    return _network(channels, (96, 192, 192))


def _network(channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    before = channels
    for index, width in enumerate(widths):
        if index > 0:
            layers += [nn.MaxPool2d(2), nn.Dropout(0.5), GaussianNoise(1.0)]
        for _ in range(3):
            convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
            nn.init.xavier_uniform_(convolution.weight)
            layers += [convolution, nn.BatchNorm2d(width, eps=1e-3), nn.LeakyReLU(0.1, inplace=True)]
            before = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
