"""CIFAR-10-C: CIFAR-10's test images, corrupted (Hendrycks & Dietterich, arXiv:1903.12261)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from uan_da.data.adapter import Arrays, Split
from uan_da.data.user_files import find_file
from uan_da.errors import UserError


class CifarC:
    """CIFAR-10-C: a domain is a corruption, ``<corruption>.npy`` beside ``labels.npy``; all images are both splits."""

    def __init__(
        self, folder: Path, classes: Sequence[str], *, severity: Annotated[int, Field(ge=1, le=5)] = 5
    ) -> None:
        self.folder, self.classes, self.severity = folder, classes, severity

    def load(self, domain: str, split: Split) -> Arrays:
        """The fifth of the file ``(5·N, 32, 32, 3)`` with that severity, and its labels."""
        path = find_file(self.folder, f"{domain}.npy")
        try:
            images = np.load(path, allow_pickle=False, mmap_mode="r")
            labels = np.load(find_file(path.parent, "labels.npy"), allow_pickle=False)
            if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3 or labels.ndim != 1:
                raise ValueError(f"images {images.dtype} {images.shape}, labels {labels.shape}")
        except UserError:
            raise
        except Exception as error:  # a damaged file makes its reader raise all kinds
            raise UserError(f"{path}: not a NumPy array ({error})") from None
        if len(images) != len(labels) or len(images) % 5:
            raise UserError(f"{path}: {len(images)} images and {len(labels)} labels are not five severities of one set")
        size = len(images) // 5
        part = slice((self.severity - 1) * size, self.severity * size)
        return Arrays(np.asarray(images[part]), labels[part])
