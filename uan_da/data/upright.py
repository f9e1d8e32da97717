"""An image of any mode as what the network can be given: eight bits, grey or RGB, upright, opaque."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from uan_da.errors import UserError

SMALLEST, LARGEST = (340, 280), (341, 281)
"""TIFF's tags of the range of the values: SMinSampleValue or MinSampleValue, SMaxSampleValue or MaxSampleValue."""
BITS = 258
"""TIFF's tag BitsPerSample."""
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes an EXIF orientation."""
PAPER = (255, 255, 255, 255)
"""What shines through where an image is transparent: white."""


class UnusablePixels(UserError):
    """An image whose values have no known meaning."""


def upright(image: Image.Image) -> Image.Image:
    """The image in mode ``L`` or ``RGB``.

    It is turned as its EXIF orientation says. Transparent areas, of an alpha channel, a palette or a transparent
    colour, show white. Sixteen bits are scaled to eight; 32-bit integers and floats by the range that a TIFF file
    states, floats otherwise from [0, 1]. Palettes, CMYK and other colour spaces are converted by Pillow.

    Raises:
        UnusablePixels: 32-bit values without a known range, or a mode that cannot be converted.
    """
    orientation = image.getexif().get(ExifTags.Base.Orientation)
    plain = _eight_bit(image)
    if orientation not in TURNS:
        return plain
    turned = plain.transpose(TURNS[orientation])
    turned.info = {}  # of which the orientation would be read again
    return turned


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode.startswith(("I", "F")):
        return _scaled(image)
    if image.mode in {"L", "RGB"} and "transparency" not in image.info:
        return image
    try:
        if image.has_transparency_data:
            pixels = image.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", pixels.size, PAPER), pixels).convert("RGB")
        return image.convert("L" if image.mode == "1" else "RGB")
    except ValueError as error:
        raise UnusablePixels(f"mode {image.mode} cannot be converted to RGB ({error})") from None


def _scaled(image: Image.Image) -> Image.Image:
    """Grey values of sixteen or 32 bits."""
    values = np.asarray(image)
    bounds = _stated_range(image)
    if bounds is None and (image.mode.startswith("I;16") or image.format in {"PNG", "PPM"}):  # older Pillows: mode I
        grey = (values >> 8).clip(0, 255)
    else:
        low, high = bounds or _unit_range(image.mode, values)
        grey = ((values.astype(np.float64) - low) / (high - low) * 255).round().clip(0, 255)
    if (hidden := image.info.get("transparency")) is not None:
        grey = np.where(values == hidden, 255, grey)
    return Image.fromarray(grey.astype(np.uint8))


def _unit_range(mode: str, values: NDArray[Any]) -> tuple[float, float]:
    way_out = "save it with 8 or 16 bits, or state the range in TIFF's SMinSampleValue and SMaxSampleValue"
    if mode != "F":
        raise UnusablePixels(f"integers of 32 bits or with a sign, whose range the file does not state: {way_out}")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise UnusablePixels(f"floats outside [0, 1], whose range the file does not state: {way_out}")
    return 0.0, 1.0


def _stated_range(image: Image.Image) -> tuple[float, float] | None:
    """The least and the greatest value by the tags of a TIFF file; fewer than sixteen bits are such a statement."""
    tags: Any = getattr(image, "tag_v2", {})
    low, high = (next((_first(tags[tag]) for tag in names if tag in tags), None) for names in (SMALLEST, LARGEST))
    if high is not None and high > (low or 0):
        return low or 0.0, high
    bits = int(_first(tags.get(BITS, 16)))
    return (0.0, 2.0**bits - 1) if image.mode.startswith("I;16") and bits < 16 else None


def _first(value: Any) -> float:
    return float(value[0] if isinstance(value, tuple) else value)
