"""How the images of one domain lie in its folder, found by looking."""

import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from uan_da.data.checked import looks_alike, unicode_twins
from uan_da.data.listing import list_images
from uan_da.data.split import usual_splits
from uan_da.errors import UserError


@dataclass(frozen=True)
class Layout:
    """The adapter that reads a domain, as a card names it, and the classes that it has."""

    adapter: Mapping[str, Any]
    classes: frozenset[str] = field(default_factory=frozenset)


def layout_of(domain: Path) -> Layout:
    """The layout of a domain's folder: classes, splits with classes, ``images/<class>``, or images without labels.

    Raises:
        UserError: the names of two class folders look the same, or one is no text.
    """
    found = folders(domain)
    if splits := usual_splits(found):
        return _of_splits(domain, splits)
    if list(found) == ["images"] and folders(domain / "images"):
        return Layout(_folder("{domain}/images/{class}"), class_names([domain / "images"]))
    if any(list_images(path) for path in found.values()):
        return Layout(_folder("{domain}/{class}"), class_names([domain]))
    return Layout(_folder("{domain}"))


def _of_splits(domain: Path, splits: Mapping[Any, list[str]]) -> Layout:
    tops = [domain / name for names in splits.values() for name in names]
    own = {} if splits == {"train": ["train"], "test": ["test"]} else {"splits": dict(splits)}
    if any(folders(top) for top in tops):
        return Layout(_folder("{domain}/{split}/{class}", **own), class_names(tops))
    return Layout(_folder("{domain}/{split}", **own))


def _folder(layout: str, **options: Any) -> dict[str, Any]:
    return {"name": "folder", "layout": layout, **options}


def folders(folder: Path) -> dict[str, Path]:
    """The folders in a folder by their names, in order; hidden ones do not count.

    Raises:
        UserError: it cannot be read.
    """
    try:
        found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    except OSError as error:
        raise UserError(f"{folder}: cannot be read ({error.strerror})") from None
    return {path.name: path for path in found}


def class_names(tops: Iterable[Path]) -> frozenset[str]:
    """The names of the folders in ``tops``, in one form of Unicode whichever the file system has.

    Raises:
        UserError: a name is no text, or two in one folder look the same.
    """
    found: set[str] = set()
    for top in tops:
        names = [as_text(path) for path in folders(top).values()]
        if twins := unicode_twins(names):
            raise UserError(f"{top}: {looks_alike(*twins)}")
        found |= {unicodedata.normalize("NFC", name) for name in names}
    return frozenset(found)


def as_text(path: Path) -> str:
    """A folder's name.

    Raises:
        UserError: its bytes are no UTF-8.
    """
    try:
        path.name.encode()
    except UnicodeEncodeError:
        raise UserError(f"{str(path)!a}: the folder's name is not UTF-8: rename it") from None
    return path.name
