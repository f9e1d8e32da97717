"""The formats of image files that are read, and the endings of their names."""

from collections.abc import Mapping
from functools import cache
from importlib import import_module

from PIL import Image

FORMATS = frozenset(
    (
        "JPEG",
        "MPO",
        "PNG",
        "BMP",
        "DIB",
        "GIF",
        "WEBP",
        "TIFF",
        "PPM",
        "JPEG2000",
        "AVIF",
        "HEIF",
        "TGA",
        "PCX",
        "SGI",
        "QOI",
    )
)
"""As Pillow calls them. Its others are no photographs, or are read by starting another program (EPS)."""
NEEDS: Mapping[str, str] = {
    **dict.fromkeys((".heic", ".heif", ".hif"), "pillow-heif"),
    **dict.fromkeys((".avif", ".avifs"), "pillow-avif-plugin"),
}
"""The package that brings a format where Pillow alone does not read it."""


@cache
def formats() -> tuple[str, ...]:
    """The formats that this machine reads, with the plugins that are installed."""
    for module, register in (("pillow_heif", "register_heif_opener"), ("pillow_avif", "")):
        try:
            plugin = import_module(module)
        except ImportError:
            continue
        if register:
            getattr(plugin, register)()
    Image.init()
    return tuple(sorted(FORMATS & Image.OPEN.keys()))


@cache
def suffixes() -> frozenset[str]:
    """The endings of names, in lower case, that those formats have."""
    readable = formats()
    return frozenset(suffix for suffix, name in Image.registered_extensions().items() if name in readable)
