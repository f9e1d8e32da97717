"""ConvNeXt of torchvision; ``backbone.weights`` has its published weights."""

from typing import Any

from torch import nn
from torchvision import models


def convnext_tiny(channels: int) -> nn.Module:
    """ConvNeXt-T (Liu et al., CVPR 2022, arXiv:2201.03545), torchvision's: images to features ``(N, 768)``."""
    network: Any = models.convnext_tiny(weights=None)
    network.classifier[2] = nn.Identity()
    if channels != 3:
        stem = network.features[0]
        stem[0] = nn.Conv2d(channels, 96, 4, stride=4)
        nn.init.trunc_normal_(stem[0].weight, std=0.02)
        nn.init.zeros_(stem[0].bias)
    built: nn.Module = network
    return built
