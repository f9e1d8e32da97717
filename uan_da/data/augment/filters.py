"""Operations on the neighbourhood of each pixel, with one parameter per image.

All take float32 images (N, C, H, W) in [0, 1] and return the same; a parameter has the shape (N,) and lives
on the images' device.
"""

import torch
from torch import Tensor
from torch.nn.functional import conv2d, pad

from uan_da.data.augment.color import blend
from uan_da.data.augment.inputs import per_image


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blends with the smoothed image: ``factor`` 0 is smooth, 1 the image, 2 sharper.

    The smoothing kernel is [[1, 1, 1], [1, 5, 1], [1, 1, 1]] / 13. Pixels on the border keep their values, so
    an image of at most two rows or columns stays as it is.
    """
    if min(images.shape[2:]) <= 2:
        return images
    inside = images[..., 1:-1, 1:-1]
    rows = (images[..., :-2] + images[..., 1:-1]).add_(images[..., 2:])
    box = (rows[..., :-2, :] + rows[..., 1:-1, :]).add_(rows[..., 2:, :])
    smooth = box.add_(inside, alpha=4).div_(13)
    result = images.clone()
    result[..., 1:-1, 1:-1] = blend(inside, smooth, factor)
    return result


def gaussian_blur(images: Tensor, sigma: Tensor, radius: int) -> Tensor:
    """Convolves with a Gaussian of standard deviation ``sigma`` pixels, borders reflected.

    The Gaussian is cut off at ``radius`` pixels, which is less than the height and the width.
    """
    if not len(images):
        return images
    channels, height, width = images.shape[1:]
    offset = torch.arange(-radius, radius + 1, device=images.device)
    kernel = (-(offset**2) / (2 * per_image("sigma", sigma, images) ** 2)).softmax(dim=-1)
    kernel = kernel.repeat_interleave(channels, dim=0)
    padded = pad(images, [radius] * 4, mode="reflect").flatten(0, 1)[None]
    blurred = conv2d(conv2d(padded, kernel, groups=len(kernel)), kernel.mT, groups=len(kernel))
    return blurred.view(-1, channels, height, width).clamp_(max=1)
