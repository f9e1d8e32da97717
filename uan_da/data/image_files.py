"""Examples that are image files."""

import os
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from uan_da.data.formats import formats
from uan_da.data.upright import UnusablePixels, upright
from uan_da.errors import UserError

READING = "2"
"""Changes when the way from a file to its pixels does: what was kept of the old way is not used."""
SPARE = 2
"""A JPEG is decoded at a half, a quarter or an eighth of its size, where that leaves so many pixels for each wanted."""


class DamagedImage(UserError):
    """An image file that cannot be read."""


class ImageFiles:
    """Images in files, opened when they are asked for: 8 bits, grey or RGB, upright."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        assert len(paths) == len(labels)
        self.paths, self.labels = list(paths), list(labels)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return open_image(self.paths[index]), self.labels[index]

    def at_size(self, index: int, side: int) -> tuple[Image.Image, int]:
        """The same, where the image will be made smaller, to no less than ``side`` pixels a side."""
        return open_image(self.paths[index], side), self.labels[index]


def open_image(path: Path, side: int | None = None) -> Image.Image:
    """The image in a file, decoded whole, as :func:`uan_da.data.upright.upright` makes it.

    Args:
        side: the image will be resized to no less than that; a JPEG whose sides are at least 4 times that is decoded
            at half its size or less, by the same arithmetic each time.

    Raises:
        DamagedImage: it is missing, cut off, too large, no image, or has values of no known meaning; names the file.
    """
    try:
        return upright(read_image(path, side))
    except UnusablePixels as error:
        raise DamagedImage(f"{path}: {error}") from None


def read_image(path: Path, side: int | None = None) -> Image.Image:
    """The image in a file as it is, in its own mode; see :func:`open_image`."""
    try:
        with Image.open(path, formats=formats()) as image:
            if side is not None:
                image.draft("", (SPARE * side, SPARE * side))
            image.load()
            return image
    except FileNotFoundError:
        raise DamagedImage(f"{path}: {'a broken link' if path.is_symlink() else 'no such image'}") from None
    except UnidentifiedImageError:
        raise DamagedImage(f"{path}: {_no_image(path)}") from None
    except (Image.DecompressionBombError, MemoryError):
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise DamagedImage(f"{path}: too large (at most {most} million pixels are decoded): make it smaller") from None
    except OSError as error:
        reason = error.strerror or error
        raise DamagedImage(f"{path}: {'cannot be read' if error.errno else 'damaged image'} ({reason})") from None
    except Exception as error:  # decoders raise all kinds on damaged files
        raise DamagedImage(f"{path}: damaged image ({error})") from None


def _no_image(path: Path) -> str:
    """What is to be said of a file that no decoder knows."""
    return "an empty file" if os.path.getsize(path) == 0 else "not an image"
