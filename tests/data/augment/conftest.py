"""Batches that the augmentation tests share."""

import pytest
import torch
from torch import Tensor


def batch(channels: int, height: int, width: int) -> Tensor:
    """Eight 8-bit images: noise, low contrast, a ramp, flat, black, white, mostly black, two values."""
    generator = torch.Generator().manual_seed(7)
    noise = torch.randint(256, (3, channels, height, width), generator=generator)
    ramp = torch.linspace(0, 255, height * width).round().long().view(1, 1, height, width)
    images = torch.cat(
        (
            noise[:1],
            noise[1:2] // 16 + 100,
            ramp.expand(1, channels, height, width),
            torch.full((1, channels, height, width), 77),
            torch.zeros(1, channels, height, width, dtype=torch.long),
            torch.full((1, channels, height, width), 255),
            noise[1:2] * (noise[2:] > 230),
            (noise[2:] > 128) * 90 + 30,
        )
    )
    return images.float() / 255


@pytest.fixture(params=[(3, 32, 32), (1, 28, 28), (3, 17, 40)], ids=["rgb", "grey", "wide"])
def images(request: pytest.FixtureRequest) -> Tensor:
    return batch(*request.param)
