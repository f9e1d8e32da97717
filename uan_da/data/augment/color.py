"""Operations on the values of pixels, with one parameter per image; positions are left alone.

All take float32 images (N, C, H, W) in [0, 1], C = 1 or 3, and return the same; a parameter has the shape
(N,) and lives on the images' device. Grey images (C = 1) have no colour: `saturation`, `hue` and `grayscale`
return them as they are.
"""

import torch
from torch import Tensor

from uan_da.data.augment.inputs import per_image


def grayscale(images: Tensor) -> Tensor:
    """The luma Y = 0.2989 R + 0.587 G + 0.114 B (ITU-R BT.601) of each pixel, one channel: (N, 1, H, W)."""
    if images.shape[1] == 1:
        return images
    return (0.2989 * images[:, :1]).add_(images[:, 1:2], alpha=0.587).add_(images[:, 2:], alpha=0.114)


def blend(images: Tensor, other: Tensor, factor: Tensor) -> Tensor:
    """``factor`` · images + (1 − ``factor``) · other, clipped to [0, 1].

    Factor 0 gives ``other``, 1 the images, and more extrapolates. ``other`` is broadcast over the images;
    ``factor`` is (N,).
    """
    return (images - other).mul_(per_image("factor", factor, images)).add_(other).clamp_(0, 1)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with black: ``factor`` 0 is black, 1 the image, 2 twice as bright."""
    return (images * per_image("factor", factor, images)).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the image's mean luma: ``factor`` 0 is flat grey, 1 the image, 2 twice the contrast."""
    return blend(images, grayscale(images).mean(dim=(1, 2, 3), keepdim=True), factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the grey image: ``factor`` 0 is grey, 1 the image, 2 twice as colourful."""
    return images if images.shape[1] == 1 else blend(images, grayscale(images), factor)


def hue(images: Tensor, shift: Tensor) -> Tensor:
    """Turns the hue by ``shift`` turns of the colour circle (−0.5 and 0.5 are the opposite colour).

    With V = max(R, G, B), chroma = V − min(R, G, B) and the hue h in sixths of a turn, the colour is
    V − chroma · clip(min(k, 4 − k), 0, 1), k = (n + h) mod 6, for n = 5, 3, 1 in the channels R, G, B (the
    closed form of HSV to RGB).
    """
    if images.shape[1] == 1:
        return images
    red, green, blue = torch.split(images, 1, dim=1)
    value = images.amax(dim=1, keepdim=True)
    chroma = value - images.amin(dim=1, keepdim=True)
    divisor = torch.where(chroma == 0, 1.0, chroma)
    sixths = torch.where(
        value == red,
        (green - blue) / divisor,
        torch.where(value == green, (blue - red) / divisor + 2, (red - green) / divisor + 4),
    )
    channel = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    k = (channel + sixths + 6 * per_image("shift", shift, images)).remainder_(6)
    return value - chroma * torch.minimum(k, 4 - k).clamp_(0, 1)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Keeps the ``bits`` highest bits (0 … 8) of each value, taken as an 8-bit number."""
    step = torch.exp2(8.0 - per_image("bits", bits, images))
    return (images * 255).round_().div_(step).floor_().mul_(step).div_(255)


def solarize(images: Tensor, threshold: Tensor) -> Tensor:
    """Inverts the values that are at or above ``threshold``: x becomes 1 − x."""
    # 1 − x = |x − 1| and x = |x − 0|, without a boolean mask: much faster on a CPU than torch.where.
    inverted = images.clone().ge_(per_image("threshold", threshold, images))
    return torch.sub(images, inverted, out=inverted).abs_()


def autocontrast(images: Tensor) -> Tensor:
    """Stretches each channel of each image linearly to [0, 1]; a channel of one value stays as it is."""
    low, high = images.amin(dim=(2, 3), keepdim=True), images.amax(dim=(2, 3), keepdim=True)
    flat = low == high
    return (images - low.masked_fill(flat, 0)).div_((high - low).masked_fill_(flat, 1))


def equalize(images: Tensor) -> Tensor:
    """Flattens the 8-bit histogram of each channel of each image, by Pillow's integer rule.

    With P pixels, of which P_max share the channel's highest value, and step = ⌊(P − P_max) / 255⌋, a value v
    becomes ⌊(number of pixels below v + ⌊step / 2⌋) / step⌋, at most 255. A channel whose step is 0 stays as
    it is.
    """
    if not len(images):
        return images
    channels, size = images.shape[0] * images.shape[1], images.shape[2] * images.shape[3]
    start = 256 * torch.arange(channels, dtype=torch.int32, device=images.device)[:, None]
    values = images.reshape(channels, size).mul(255).round_().to(torch.int32).add_(start).view(-1)
    histogram = _count(values, 256 * channels).view(channels, 256)
    highest = (values.view(channels, size).amax(dim=1, keepdim=True) - start).long()
    step = (size - histogram.gather(1, highest)) // 255
    below = (histogram.cumsum(dim=1) - histogram).float()
    # Exact, and faster than integer division: quotients of integers below 2²⁴ never round up to an integer.
    table = below.add_(step // 2).div_(step.clamp(min=1)).floor_().clamp_(max=255).div_(255)
    flattened = table.view(-1).index_select(0, values).view(images.shape)
    # Exact for the weights 0 and 1, and faster on a CPU than torch.where.
    return images.lerp(flattened, (step > 0).to(images.dtype).view(*images.shape[:2], 1, 1))


def _count(values: Tensor, bins: int) -> Tensor:
    """How often each of 0 … ``bins`` − 1 stands in ``values`` (V,): (bins,), int64."""
    if values.device.type == "cpu":
        return torch.bincount(values, minlength=bins)
    # bincount would wait for the device, to look for values beyond the last bin
    ones = torch.ones_like(values, dtype=torch.int64)
    return values.new_zeros(bins, dtype=torch.int64).scatter_add_(0, values.long(), ones)
