"""Map-style data sets of PyTorch, such as torchvision's."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from uan_da.data.adapter import Split
from uan_da.errors import UserError
from uan_da.names import Names

CLASSES = Names("dataset", {})
"""None has a name of its own: they are found as ``module:Class``, in the working directory too."""


class Converted:
    """A map-style data set whose images may be PIL images, uint8 arrays ``(H, W[, 3])`` or tensors ``(C, H, W)``."""

    def __init__(self, dataset: Any, labels: Any = None) -> None:
        self.dataset = dataset
        known = getattr(dataset, "targets", None) if labels is None else labels
        if known is not None:
            self.labels = torch.as_tensor(known, dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        image, label = self.dataset[index]
        return as_image(image), int(label)


class TorchDataset:
    """A map-style torch data set: ``module:Class`` and its arguments, those of each split beside the common ones."""

    def __init__(
        self,
        folder: Path,
        classes: Sequence[str],
        *,
        dataset: str,
        arguments: dict[str, Any] | None = None,
        train: dict[str, Any] | None = None,
        test: dict[str, Any] | None = None,
    ) -> None:
        """``{folder}`` and ``{domain}`` in an argument that is text stand for the data set's folder and the domain."""
        self.folder, self.classes, self.dataset, self.arguments = folder, classes, dataset, arguments or {}
        self.of_split: dict[Split, dict[str, Any]] = {"train": train or {}, "test": test or {}}

    def load(self, domain: str, split: Split) -> Converted:
        """The data set, built with the arguments of the split."""
        if ":" not in self.dataset:
            raise UserError(f"dataset {self.dataset!r}: expected module:Class")
        target = CLASSES.load(self.dataset)
        given = self.arguments | self.of_split[split]
        places = {"folder": str(self.folder), "domain": domain}
        filled = {key: value.format_map(places) if isinstance(value, str) else value for key, value in given.items()}
        try:
            return Converted(target(**filled))
        except (RuntimeError, TypeError, ValueError, OSError) as error:
            raise UserError(f"dataset {self.dataset!r}, {split}: {error}") from None


def as_image(image: Any) -> Image.Image:
    """A PIL image of what a data set may hold.

    Raises:
        UserError: it is no image, or a tensor of floats outside [0, 1].
    """
    if isinstance(image, Image.Image):
        return image
    if isinstance(image, torch.Tensor):
        if image.is_floating_point():
            if image.numel() and (image.min() < 0 or image.max() > 1):
                raise UserError(
                    "an image tensor of floats has values outside [0, 1]: leave normalisation to the recipe"
                )
            image = (image * 255).round().to(torch.uint8)
        image = image.permute(1, 2, 0).squeeze(2).numpy() if image.dim() == 3 else image.numpy()
    if isinstance(image, np.ndarray) and image.dtype == np.uint8:
        return Image.fromarray(image)
    kind = f"{image.dtype} {image.shape}" if isinstance(image, np.ndarray) else type(image).__name__
    raise UserError(f"expected a PIL image, a uint8 array or a tensor, but got {kind}")
