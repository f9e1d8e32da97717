"""Images as the numbers that augmentations reckon with."""

import numpy as np
import torch
from torch import Tensor

from uan_da.data.augment.checks import check_images


def as_floats(images: Tensor) -> Tensor:
    """Images (N, C, H, W) of bytes v as v / 255, float32 in [0, 1], in new memory; those of float32 as they are.

    Raises:
        ValueError: what is given is no batch of images.
    """
    check_images(images)
    if images.dtype == torch.float32:
        return images
    if images.device.type != "cpu":
        return images.float().div_(255)
    # NumPy asks the system for large pages; in small ones a large batch costs more to allocate than to compute.
    return torch.from_numpy(np.empty(images.shape, np.float32)).copy_(images).div_(255)


def own_floats(images: Tensor) -> Tensor:
    """The same in memory that nobody else has, to be written to."""
    floats = as_floats(images)
    return floats.detach().clone() if floats is images else floats
