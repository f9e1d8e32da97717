"""Examples that are image files."""

from collections.abc import Sequence
from pathlib import Path

from PIL import Image, UnidentifiedImageError

from uan_da.errors import UserError

READING = "2"
"""Changes when the way from a file to its pixels does: what was kept of the old way is not used."""


class DamagedImage(UserError):
    """An image file that cannot be read."""


SUFFIXES = frozenset((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"))


class ImageFiles:
    """Images in files, opened when they are asked for."""

    def __init__(self, paths: Sequence[Path], labels: Sequence[int]) -> None:
        assert len(paths) == len(labels)
        self.paths, self.labels = list(paths), list(labels)

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        return open_image(self.paths[index]), self.labels[index]


def open_image(path: Path) -> Image.Image:
    """The image in a file, decoded whole.

    Raises:
        DamagedImage: it is missing, cut off, or no image; names the file.
    """
    try:
        with Image.open(path) as image:
            image.load()
            return image
    except FileNotFoundError:
        raise DamagedImage(f"{path}: no such image") from None
    except UnidentifiedImageError:
        raise DamagedImage(f"{path}: not an image") from None
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise DamagedImage(f"{path}: damaged image ({error})") from None


def list_images(folder: Path) -> list[Path]:
    """All image files in ``folder`` and below it, sorted by path; hidden ones do not count."""
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES)
    visible = (path for path in found if not any(part.startswith(".") for part in path.relative_to(folder).parts))
    return sorted(path for path in visible if path.is_file())
