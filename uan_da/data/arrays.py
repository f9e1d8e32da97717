"""Examples that are arrays."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


class Arrays:
    """Examples from an array of images ``(N, H, W)`` or ``(N, H, W, 3)`` and labels ``(N,)``."""

    def __init__(self, images: Pixels, labels: NDArray[Any]) -> None:
        assert len(images) == len(labels)
        self.images, self.labels = images, labels.astype(np.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return Image.fromarray(self.images[index]), int(self.labels[index])
