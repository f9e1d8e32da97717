"""The image files in a folder and below it."""

import os
from collections.abc import Iterator
from pathlib import Path

from uan_da.data.formats import suffixes
from uan_da.errors import UserError


def list_images(folder: Path) -> list[Path]:
    """All image files in ``folder`` and below it, sorted by path; hidden ones do not count.

    Links to files and folders are followed; a folder that is found in several ways counts once, first where it lies.

    Raises:
        UserError: a folder cannot be read.
    """
    known = suffixes()
    return [
        path
        for path in list_files(folder)
        if is_visible(path, folder) and path.suffix.lower() in known and path.is_file()
    ]


def list_files(folder: Path) -> list[Path]:
    """All that is no folder, and also folders that were read already by another way, sorted by path."""
    return sorted(_walk(folder, set())) if folder.is_dir() else []


def is_visible(path: Path, folder: Path) -> bool:
    """Whether neither the file nor a folder between is hidden."""
    return not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    try:
        state = folder.stat()
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None
    seen.add((state.st_dev, state.st_ino))
    for entry in sorted(entries, key=lambda entry: entry.is_symlink()):  # a folder counts where it lies
        path = Path(entry.path)
        if not entry.is_dir() or _identity(path) in seen:
            yield path
        else:
            yield from _walk(path, seen)


def _identity(path: Path) -> tuple[int, int]:
    state = path.stat()
    return state.st_dev, state.st_ino
