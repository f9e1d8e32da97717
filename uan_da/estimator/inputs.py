"""Arrays as a network's images. A row of features becomes one pixel with many channels."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from uan_da.data.as_image import as_image
from uan_da.data.images import Images, decode
from uan_da.errors import UserError
from uan_da.recipe.network import Input


class Inputs(ABC):
    """Converts the rows of ``X`` into the images of a network."""

    overrides: Sequence[str] = ()
    """The recipe keys that these inputs need."""

    @property
    @abstractmethod
    def channels(self) -> int | None:
        """Channels of the network's input; None: as in the recipe."""

    @abstractmethod
    def images(self, rows: NDArray[Any], labels: Tensor, input: Input) -> Images:
        """``rows`` and their labels ``(N,)``."""


class PictureInputs(Inputs):
    """Images ``(N, H, W[, C])``, bytes or floats in [0, 1], resized to the recipe's input."""

    channels = None

    def images(self, rows: NDArray[Any], labels: Tensor, input: Input) -> Images:
        """Pixels ``(N, channels, size, size)``."""
        return Images(decode([(as_image(_bytes(row)), -1) for row in rows], input).pixels, labels)


class FeatureInputs(Inputs):
    """Features ``(N, F)``, each standardised to mean 0 and standard deviation 1 over the training rows."""

    overrides = ("input={size: 1, channels: 1, mean: 0.0, std: 1.0}", "augment={weak: [], strong: []}")

    def __init__(self, mean: NDArray[np.float64], scale: NDArray[np.float64]) -> None:
        self.mean, self.scale = mean, scale

    @classmethod
    def of(cls, rows: NDArray[Any]) -> Self:
        """Standardises by the moments of ``rows``; a constant feature keeps its scale."""
        wide = rows.astype(np.float64)
        scale = wide.std(0)
        return cls(wide.mean(0), np.where(scale > 0, scale, 1.0))

    @property
    def channels(self) -> int:
        """F."""
        return len(self.mean)

    def images(self, rows: NDArray[Any], labels: Tensor, input: Input) -> Images:
        """Pixels ``(N, F, 1, 1)``."""
        scaled = (rows.astype(np.float64) - self.mean) / self.scale
        return Images(torch.from_numpy(scaled.astype(np.float32))[:, :, None, None], labels)


def inputs_of(rows: NDArray[Any]) -> Inputs:
    """The kind of input, by the number of axes: 2 are features, 3 or 4 are images.

    Raises:
        ValueError: ``X`` has another number of axes.
    """
    if rows.ndim == 2:
        return FeatureInputs.of(rows)
    if rows.ndim in (3, 4):
        return PictureInputs()
    raise ValueError(f"Expected X to be features (N, F) or images (N, H, W[, C]), but got shape {rows.shape}")


def _bytes(image: NDArray[Any]) -> NDArray[np.uint8]:
    if image.dtype == np.uint8:
        return image
    if not np.issubdtype(image.dtype, np.floating) or image.min() < 0 or image.max() > 1:
        raise UserError(f"images are uint8, or floats in [0, 1], but got {image.dtype} with other values")
    return (image * 255).round().astype(np.uint8)
