"""Images that belong to no data set: a folder to adapt to, files to classify."""

import os
import unicodedata
import warnings
from collections import Counter
from collections.abc import Sequence
from glob import glob, has_magic
from pathlib import Path

from uan_da.data.adapter import UNKNOWN
from uan_da.data.formats import NEEDS, suffixes
from uan_da.data.image_files import ImageFiles
from uan_da.data.listing import list_files, list_images
from uan_da.errors import DataWarning, UserError
from uan_da.names import unknown


def images_at(paths: Sequence[Path]) -> ImageFiles:
    """The images of all ``paths``, in their order and without labels; of a folder, all that are in it and below it.

    Raises:
        UserError: a path does not exist, or is a folder without images.
    """
    found = [image for path in paths for image in (images_in(path) if path.is_dir() else [_existing(path)])]
    return ImageFiles(found, [UNKNOWN] * len(found))


def expand(word: str) -> list[Path]:
    """What a word of the user names: a path, or all that a pattern such as ``photos/**/*.jpg`` matches, by name.

    Raises:
        UserError: nothing matches.
    """
    if not has_magic(word) or os.path.lexists(word):
        return [Path(word)]
    found = sorted(glob(word, recursive=True))
    if not found:
        raise UserError(f"{word}: matches no file")
    return [Path(path) for path in found]


def target_folder(folder: Path, classes: Sequence[str]) -> ImageFiles:
    """The images of a folder, with the labels that its folders' names tell.

    ``folder/*`` has no labels; in ``folder/<class>/*`` the name of the first folder is the label. Where no folder's
    name is a class, all are unlabelled, with a warning.

    Raises:
        UserError: there is no such folder, it has no images, or some of its folders are classes and others are not.
    """
    paths = images_in(folder)
    tops = [_class_folder(path, folder) for path in paths]
    named = sorted({name for name in tops if name is not None})
    strange = [name for name in named if name not in classes]
    if strange and len(strange) == len(named):
        warnings.warn(
            f"{folder}: none of its folders ({_some(named)}) is a class of the run ({_some(classes)}): its images are "
            f"taken as unlabelled",
            DataWarning,
            stacklevel=2,
        )
    elif strange:
        raise UserError(
            f"{folder / strange[0]}: {unknown('class', strange[0], classes)}. Where some folders are classes of the "
            f"run, all must be"
        )
    return ImageFiles(paths, [classes.index(name) if name in classes else UNKNOWN for name in tops])


def _class_folder(path: Path, folder: Path) -> str | None:
    """The first folder on the way to an image, in the form of Unicode that classes have."""
    return None if path.parent == folder else unicodedata.normalize("NFC", path.relative_to(folder).parts[0])


def images_in(folder: Path) -> list[Path]:
    """All image files in ``folder`` and below it, in the order of their names.

    Raises:
        UserError: there is no such folder, or there is no image in it.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: {'is not a folder' if folder.exists() else 'no such folder'}")
    found = list_images(folder)
    left = Counter(
        path.suffix.lower() for path in list_files(folder) if path.suffix.lower() in NEEDS.keys() - suffixes()
    )
    for suffix, count in sorted(left.items()):
        text = f"{folder}: {count} file(s) left out: {suffix} is read after: pip install {NEEDS[suffix]}"
        warnings.warn(text, DataWarning, stacklevel=2)
    if not found:
        raise UserError(f"{folder}: holds no images")
    return found


def _existing(path: Path) -> Path:
    if not path.exists():
        raise UserError(f"{path}: no such file or folder")
    return path


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
