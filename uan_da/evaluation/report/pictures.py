"""Images inside the page."""

import base64
import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def data_uri(pixels: NDArray[np.uint8]) -> str:
    """An image ``(H, W, 1)`` or ``(H, W, 3)`` as a PNG in a ``data:`` address."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def picture(arrays: Mapping[str, NDArray[Any]], domain: str, index: int) -> str | None:
    """The kept image of a domain as a ``data:`` address; None where it was not kept."""
    pixels = arrays.get(f"image/{domain}/{index}")
    return None if pixels is None else data_uri(pixels)
