"""Random brightness, contrast, saturation and hue."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from uan_da.data.augment.color import brightness, contrast, hue, saturation
from uan_da.data.augment.inputs import check_number, own_floats, uniform
from uan_da.data.augment.per_group import Operation, apply_per_group_


@dataclass(frozen=True, kw_only=True)
class ColorJitter:
    """Changes brightness, contrast, saturation and hue of each image by random amounts, in a random order.

    Args:
        brightness: the factor is uniform in [max(0, 1 − ``brightness``), 1 + ``brightness``].
        contrast: the same for contrast.
        saturation: the same for saturation.
        hue: the hue is shifted by a uniform share in ±``hue`` of the colour circle, at most 0.5.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    saturation: float = 0.0
    hue: float = 0.0

    def __post_init__(self) -> None:
        for name in ("brightness", "contrast", "saturation"):
            check_number(name, getattr(self, name), 0)
        check_number("hue", self.hue, 0, 0.5)

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        """(N, C, H, W) to (N, C, H, W)."""
        images = own_floats(images)
        operations = self._operations(images, generator)
        order = uniform(len(images), len(operations), generator=generator).argsort(dim=1)
        for group in order.unbind(dim=1):
            apply_per_group_(images, group, operations)
        return images

    def _operations(self, images: Tensor, generator: torch.Generator | None) -> list[Operation]:
        """The operations whose amount is not zero, each with its values, (N,), drawn."""
        ranges = (
            (brightness, max(0.0, 1 - self.brightness), 1 + self.brightness),
            (contrast, max(0.0, 1 - self.contrast), 1 + self.contrast),
            (saturation, max(0.0, 1 - self.saturation), 1 + self.saturation),
            (hue, -self.hue, self.hue),
        )
        return [
            partial(
                _apply,
                function,
                uniform(len(images), generator=generator, device=images.device, low=low, high=high),
            )
            for function, low, high in ranges
            if low < high
        ]


def _apply(function: Callable[[Tensor, Tensor], Tensor], values: Tensor, images: Tensor, index: Tensor) -> Tensor:
    return function(images, values[index])
