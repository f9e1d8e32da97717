"""Images of other kinds than Pillow's."""

from typing import Any

import numpy as np
import torch
from PIL import Image

from uan_da.errors import UserError


def as_image(image: Any) -> Image.Image:
    """A PIL image of what a data set may hold: one, an array ``(H, W[, C])`` or a tensor ``(C, H, W)``, ``(H, W)``.

    Arrays are uint8, tensors uint8 or floats in [0, 1]; C is 1, 3, or 4 with an alpha channel.

    Raises:
        UserError: it is no image, or a tensor of floats outside [0, 1].
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, torch.Tensor):
        pixels = _bytes(image.detach().cpu())
        array = (pixels.permute(1, 2, 0) if pixels.dim() == 3 else pixels).numpy()
    else:
        array = image
    if isinstance(array, np.ndarray) and array.dtype == np.uint8 and array.size:
        if array.ndim == 3 and array.shape[2] == 1:
            array = array[..., 0]
        if array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (3, 4)):
            return Image.fromarray(np.ascontiguousarray(array))
    kind = f"{image.dtype} {tuple(image.shape)}" if hasattr(image, "dtype") else repr(type(image).__name__)
    raise UserError(
        f"expected a PIL image, a uint8 array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), or a tensor (C, H, W), but "
        f"got {kind}"
    )


def _bytes(image: torch.Tensor) -> torch.Tensor:
    if not image.is_floating_point():
        return image
    if image.numel() and not (image.min() >= 0 and image.max() <= 1):
        raise UserError("an image tensor of floats has values outside [0, 1]: leave normalisation to the recipe")
    return (image * 255).round().to(torch.uint8)
