"""ResNets of torchvision; ``backbone.weights`` has their published weights."""

from collections.abc import Callable

from torch import nn
from torchvision import models


def resnet18(channels: int) -> nn.Module:
    """ResNet-18 (He et al., CVPR 2016, arXiv:1512.03385), torchvision's: images to features ``(N, 512)``."""
    return _without_head(models.resnet18, channels)


def resnet34(channels: int) -> nn.Module:
    """ResNet-34 (He et al., CVPR 2016, arXiv:1512.03385), torchvision's: images to features ``(N, 512)``."""
    return _without_head(models.resnet34, channels)


def resnet50(channels: int) -> nn.Module:
    """ResNet-50 (He et al., CVPR 2016, arXiv:1512.03385), torchvision's: images to features ``(N, 2048)``."""
    return _without_head(models.resnet50, channels)


def resnet101(channels: int) -> nn.Module:
    """ResNet-101 (He et al., CVPR 2016, arXiv:1512.03385), torchvision's: images to features ``(N, 2048)``."""
    return _without_head(models.resnet101, channels)


def _without_head(build: Callable[..., nn.Module], channels: int) -> nn.Module:
    network = build(weights=None)
    network.fc = nn.Identity()
    if channels != 3:
        network.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    return network
