"""Vision transformer of torchvision; ``backbone.weights`` has its published weights."""

from typing import Any

from pydantic import PositiveInt
from torch import nn
from torchvision import models


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
