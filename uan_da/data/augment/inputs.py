"""What augmentations share: checks of options and images, images as floats, and random numbers."""

import math

import numpy as np
import torch
from torch import Tensor


def check_integer(name: str, value: object, low: int, high: int = 4096) -> None:
    """Raises ValueError unless ``value`` is an integer in [``low``, ``high``]; pixels are no more than 4096."""
    if not isinstance(value, int) or isinstance(value, bool) or value < low:
        raise ValueError(f"Expected `{name}` to be an integer of at least {low}, but got {value!r}")
    if value > high:
        raise ValueError(f"Expected `{name}` to be an integer of at most {high}, but got {value!r}")


def check_number(name: str, value: object, low: float, high: float = math.inf) -> None:
    """Raises ValueError unless ``value`` is a finite number in [``low``, ``high``]."""
    if not _is_number(value) or not low <= value <= high:  # type: ignore[operator]
        bounds = f"of at least {low:g}" if high == math.inf else f"in [{low:g}, {high:g}]"
        raise ValueError(f"Expected `{name}` to be a number {bounds}, but got {value!r}")


def check_range(name: str, value: object, high: float = math.inf) -> None:
    """Raises ValueError unless ``value`` is a pair of numbers, 0 < first <= second <= ``high``."""
    pair = isinstance(value, (tuple, list)) and len(value) == 2 and all(map(_is_number, value))
    if not pair or not 0 < value[0] <= value[1] <= high:  # type: ignore[index]
        bound = "" if high == math.inf else f" <= {high:g}"
        raise ValueError(f"Expected `{name}` to be two numbers, 0 < low <= high{bound}, but got {value!r}")


def check_images(images: Tensor) -> None:
    """Raises ValueError unless ``images`` is uint8 or float32 (N, C, H, W), C = 1 or 3; values go unchecked."""
    if not isinstance(images, Tensor) or images.dtype not in (torch.uint8, torch.float32):
        got = images.dtype if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"Expected `images` to be a tensor of torch.uint8 or torch.float32, but got {got}")
    if images.ndim != 4 or images.shape[1] not in (1, 3) or 0 in images.shape[2:]:
        raise ValueError(
            f"Expected `images` to have the shape (N, 1 or 3, height, width), but got {tuple(images.shape)}"
        )


def per_image(name: str, values: Tensor, images: Tensor) -> Tensor:
    """``values`` (N,), one for each of the ``images``, as (N, 1, 1, 1), to broadcast over pixels."""
    if values.shape != images.shape[:1]:
        raise ValueError(
            f"Expected `{name}` to have one value per image, shape ({len(images)},), but got {tuple(values.shape)}"
        )
    return values.view(-1, 1, 1, 1)


def as_floats(images: Tensor, memory_format: torch.memory_format = torch.contiguous_format) -> Tensor:
    """Images (N, C, H, W) of bytes v as v / 255, float32 in [0, 1], in new memory; those of float32 as they are.

    Raises:
        ValueError: what is given is no batch of images.
    """
    check_images(images)
    if images.dtype == torch.float32:
        return images
    if images.device.type != "cpu":
        return images.to(torch.float32, memory_format=memory_format).div_(255)
    # NumPy asks the system for large pages; in small ones a large batch costs more to allocate than to compute.
    memory = torch.from_numpy(np.empty(images.numel(), np.float32))
    n, c, height, width = images.shape
    if memory_format == torch.channels_last:
        floats = memory.view(n, height, width, c).permute(0, 3, 1, 2)
    else:
        floats = memory.view(n, c, height, width)
    return floats.copy_(images).div_(255)


def own_floats(images: Tensor) -> Tensor:
    """The same in memory that nobody else has, to be written to."""
    floats = as_floats(images)
    return floats.detach().clone() if floats is images else floats


def uniform(
    *shape: int,
    generator: torch.Generator | None,
    device: torch.device | None = None,
    low: float = 0.0,
    high: float = 1.0,
) -> Tensor:
    """Numbers in [low, high), float32 of this shape, on ``device`` (``None``: the generator's)."""
    home = torch.device("cpu") if generator is None else generator.device
    return torch.rand(shape, generator=generator, device=home).mul_(high - low).add_(low).to(device or home)


def integers(*shape: int, high: int, generator: torch.Generator | None, device: torch.device | None = None) -> Tensor:
    """Integers in 0 … high − 1, int64 of this shape, on ``device`` (``None``: the generator's)."""
    home = torch.device("cpu") if generator is None else generator.device
    return torch.randint(high, shape, generator=generator, device=home).to(device or home)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
