"""Backbones of torchvision; ``backbone.weights`` has their published weights."""

from collections.abc import Callable
from typing import Any

from pydantic import PositiveInt
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


def vit_b_16(channels: int, *, image_size: PositiveInt = 224) -> nn.Module:
    """ViT-B/16 (Dosovitskiy et al., ICLR 2021, arXiv:2010.11929), torchvision's: images to features ``(N, 768)``.

    Args:
        channels: of the input images ``(N, channels, image_size, image_size)``.
        image_size: what the position embedding is made for, a multiple of 16. It must be ``input.crop``, or
            ``input.size`` where there is none; published weights have 224, IMAGENET1K_SWAG_E2E_V1 has 384.
    """
    network: Any = models.vit_b_16(weights=None, image_size=image_size)
    network.heads = nn.Identity()
    if channels != 3:
        network.conv_proj = nn.Conv2d(channels, 768, 16, stride=16)
        nn.init.trunc_normal_(network.conv_proj.weight, std=(1 / (channels * 16 * 16)) ** 0.5)
        nn.init.zeros_(network.conv_proj.bias)
    built: nn.Module = network
    return built


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
