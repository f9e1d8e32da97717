"""Images resized and cropped, as torchvision does, whose import takes longer than a small training's first step."""

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from uan_da.recipe.network import Input

BYTES_ARE_RESIZED = ("AVX2", "AVX512")
"""CPUs on which PyTorch interpolates bytes; on others they go through floats."""


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """``(C, H, W)`` or ``(N, C, H, W)``, bytes or floats, to ``height`` × ``width``: bilinear, antialiased, the same
    type."""
    if images.shape[-2:] == (height, width):
        return images
    four = images if images.ndim == 4 else images[None]
    as_bytes = four.device.type == "cpu" and torch.backends.cpu.get_cpu_capability() in BYTES_ARE_RESIZED
    exact = images.dtype == torch.uint8 and not (as_bytes and height * width > 1)  # PyTorch fails on one pixel of bytes
    out = interpolate(four.float() if exact else four, size=(height, width), mode="bilinear", antialias=True)
    return (out.round().to(torch.uint8) if exact else out).reshape(*images.shape[:-2], height, width)


def fit(images: Tensor, input: Input) -> Tensor:
    """``(C, H, W)`` or ``(N, C, H, W)`` as squares of ``input.size``, stretched or cropped as ``input.resize`` says."""
    if input.resize == "square":
        return resize(images, input.size, input.size)
    short = min(images.shape[-2:])
    height, width = (input.size * side // short for side in images.shape[-2:])
    return centre(resize(images, height, width), input.size)


def centre(images: Tensor, side: int) -> Tensor:
    """The centre of ``(…, H, W)``, ``side`` × ``side``, black where the images are smaller."""
    missing = [max(side - have, 0) for have in images.shape[-2:]]
    if any(missing):
        top, left = (lack // 2 for lack in missing)
        images = pad(images, [left, missing[1] - left, top, missing[0] - top])
    top, left = (round((have - side) / 2.0) for have in images.shape[-2:])
    return images[..., top : top + side, left : left + side]
