"""Random numbers for augmentations: drawn where the generator lives, then moved to where they are needed."""

import torch
from torch import Tensor


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
