"""Operations that move pixels, with one parameter per image.

All take float32 images (N, C, H, W) in [0, 1] and return the same, `flip` and `crop` those of any type; a
parameter has the shape (N,), unless another is given, and lives on the images' device. Lengths are in pixels, x
to the right and y downwards.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from uan_da.data.augment.inputs import per_image


def flip(images: Tensor, flipped: Tensor) -> Tensor:
    """Mirrors, left to right, the images for which ``flipped`` is true."""
    return torch.where(per_image("flipped", flipped, images), images.flip(-1), images)


def crop(images: Tensor, top: Tensor, left: Tensor, height: int, width: int) -> Tensor:
    """Cuts out ``height`` × ``width`` pixels whose first row is ``top`` and first column ``left`` (integers).

    Returns:
        (N, C, height, width), exact pixels of any type, channels last if they are. Each window lies inside its image.
    """
    count, channels, rows, columns = images.shape
    if height > rows or width > columns:
        raise ValueError(f"a window of {height}×{width} pixels does not fit into {rows}×{columns}")
    if not count:
        return images.new_empty(count, channels, height, width)
    last = images.is_contiguous(memory_format=torch.channels_last)
    planes, size = (1, channels) if last else (channels, 1)  # of an image in memory, and values of a pixel of a plane
    # All stretches of `width` pixels, wherever they start, as rows of one table: to look up rows is much faster than
    # to look up pixels.
    values = (images.permute(0, 2, 3, 1) if last else images).reshape(-1)
    plane = torch.arange(0, images.numel(), rows * columns * size, device=images.device).view(count, planes, 1)
    row = torch.arange(0, height * columns * size, columns * size, device=images.device)
    chosen = plane + (top * columns + left).mul(size).view(-1, 1, 1) + row
    found = values.unfold(0, width * size, 1).index_select(0, chosen.view(-1))
    if last:
        return found.view(count, height, width, channels).permute(0, 3, 1, 2)
    return found.view(count, channels, height, width)


def resized_crop(images: Tensor, box: Tensor, size: int) -> Tensor:
    """Cuts out a box and resizes it to ``size`` × ``size``, bilinearly and without antialiasing.

    Args:
        images: (N, C, H, W).
        box: (N, 4), each the top, left, height and width of a box inside the image.
        size: side of the result.

    Returns:
        (N, C, size, size). Pixels outside the box have no influence on it.
    """
    if not len(images):
        return images.new_empty(0, images.shape[1], size, size)
    step = (torch.arange(size, device=images.device) + 0.5) / size
    top, left, height, width = box.to(images.dtype)[..., None].unbind(1)
    y = top + (height * step - 0.5).clamp(min=0).minimum(height - 1)
    x = left + (width * step - 0.5).clamp(min=0).minimum(width - 1)
    grid_y = ((2 * y + 1) / images.shape[2] - 1)[:, :, None].expand(-1, -1, size)
    grid_x = ((2 * x + 1) / images.shape[3] - 1)[:, None, :].expand(-1, size, -1)
    grid = torch.stack((grid_x, grid_y), dim=-1)
    return grid_sample(images, grid, padding_mode="border", align_corners=False).clamp_(max=1)


def affine_matrix(
    *,
    angle: Tensor,
    translate_x: Tensor,
    translate_y: Tensor,
    scale: Tensor,
    shear_x: Tensor,
    shear_y: Tensor,
) -> Tensor:
    """The matrix, for `affine`, that shears, scales, rotates and then translates the content of an image.

    The content moves by F = R(angle) · scale · [[1, 0], [−tan shear_y, 1]] · [[1, −tan shear_x], [0, 1]]
    about the centre, and by t = (translate_x, translate_y) after it.
    `affine` needs the way back: (F⁻¹, −F⁻¹ t).

    Args:
        angle: (N,), degrees clockwise.
        translate_x: (N,), pixels to the right.
        translate_y: (N,), pixels downwards.
        scale: (N,), above 0.
        shear_x: (N,), degrees.
        shear_y: (N,), degrees.

    Returns:
        (N, 2, 3).
    """
    angle = angle.deg2rad()
    cos, sin = angle.cos(), angle.sin()
    tan_x, tan_y = shear_x.deg2rad().tan(), shear_y.deg2rad().tan()
    diagonal = 1 + tan_x * tan_y
    inverse = torch.stack(
        (diagonal * cos - tan_x * sin, diagonal * sin + tan_x * cos, tan_y * cos - sin, tan_y * sin + cos),
        dim=1,
    ).view(-1, 2, 2) / scale.view(-1, 1, 1)
    # Sums, here and in `affine`: a matrix product in reduced precision (TF32, autocast) would move pixels.
    offset = (inverse * torch.stack((translate_x, translate_y), dim=1)[:, None]).sum(dim=2, keepdim=True)
    return torch.cat((inverse, -offset), dim=2)


def affine(images: Tensor, matrix: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """Fills each pixel from where ``matrix`` sends it; what lies outside the image is black.

    Args:
        images: (N, C, H, W).
        matrix: (N, 2, 3), which takes (x, y, 1) in the result to (x, y) in the image, both measured from the
            centre.
        mode: how to read between the pixels of the image.

    Returns:
        (N, C, H, W).
    """
    if not len(images):
        return images
    height, width = images.shape[2:]
    x = torch.arange(width, device=images.device) - (width - 1) / 2
    y = torch.arange(height, device=images.device) - (height - 1) / 2
    to_unit = matrix.new_tensor([2 / width, 2 / height])
    of_x, of_y, offset = (matrix * to_unit[:, None])[..., None, None].unbind(2)
    grid = (of_x * x + (of_y * y[:, None] + offset)).permute(0, 2, 3, 1)
    moved = grid_sample(images, grid, mode, align_corners=False)
    return moved.clamp_(max=1) if mode == "bilinear" else moved


def erase(images: Tensor, top: Tensor, left: Tensor, side: int, fill: float) -> Tensor:
    """Sets a square of ``side`` pixels, from row ``top`` and column ``left`` (maybe outside), to ``fill``."""
    height, width = images.shape[2:]
    rows = torch.arange(height, device=images.device)[:, None] - per_image("top", top, images)
    columns = torch.arange(width, device=images.device) - per_image("left", left, images)
    inside = (rows >= 0) & (rows < side) & (columns >= 0) & (columns < side)
    return images.masked_fill(inside, fill)
