"""The page around figures and tables, and the images inside it."""

import base64
import io
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Render ``template`` to ``path``, in one piece; whatever comes from data or recipes is escaped."""
    loader = PackageLoader("uan_da.evaluation.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "number": _number}
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(environment.get_template(template).render(**content), encoding="utf-8")
    partial.replace(path)
    return path


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


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
