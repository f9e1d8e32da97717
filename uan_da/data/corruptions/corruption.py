"""What a corruption is, and how it is applied to a batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uan_da.data.adapter import Pixels
from uan_da.data.corruptions.draws import Draws

Floats = NDArray[np.float64]
Function = Callable[..., NDArray[Any]]
"""``function(x, draws, *constants)``: ``x`` ``(N, H, W, 3)`` from 0 to 1, as is its result, before clipping."""

SMALL = 64
"""Images whose longer side is at most this take the constants that CIFAR-10-C (32 pixels) was made with, larger ones
those of ImageNet-C (224 pixels). Lengths in pixels stay as published, except where the publication itself has them
relative to the image."""

ROUNDING = 1e-6
"""A whole number that became 6.999999 on its way stays 7."""

SEVERITIES = (1, 2, 3, 4, 5)


@dataclass(frozen=True)
class Corruption:
    """A corruption and its constants at severities 1 to 5: for ``small`` images and for ``large`` ones.

    A corruption without severities has one row of constants in each.
    """

    function: Function
    small: Sequence[tuple[Any, ...]]
    large: Sequence[tuple[Any, ...]]

    def __call__(self, images: Pixels, draws: Draws, severity: int = 5) -> Pixels:
        """``images`` ``(N, H, W)`` or ``(N, H, W, 3)``, corrupted: ``(N, H, W, 3)``, truncated to whole numbers as the
        authors' scripts do. Grey images are corrupted as colour ones with three equal channels."""
        assert severity in SEVERITIES
        colour = images if images.ndim == 4 else np.repeat(images[..., None], 3, axis=-1)
        rows = self.small if max(colour.shape[1:3]) <= SMALL else self.large
        corrupted = self.function(colour / 255.0, draws, *rows[min(severity, len(rows)) - 1])
        truncated: Pixels = (np.clip(corrupted, 0.0, 1.0) * 255 + ROUNDING).astype(np.uint8)
        return truncated
