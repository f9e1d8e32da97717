"""A card's data from its official source to where the card is looked for."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from uan_da.data.card import Download
from uan_da.data.card_dataset import CardDataset
from uan_da.data.download import DownloadFailed, Progress, download
from uan_da.data.unpack import unpack
from uan_da.errors import UserError

RECORD = "fetched.json"
"""Beside the data: the URL and SHA-256 of every file that was fetched."""


def fetch(dataset: CardDataset, start: Callable[[str], Progress] = lambda name: lambda done, total: None) -> list[Path]:
    """Bring all files of the card that are not here yet; returns where they went.

    A file that was brought by hand to the data set's folder, under the name that it has at the source, is taken in
    place of the download. ``start`` is called with the name of each download and returns what shows its progress.

    Raises:
        DownloadFailed: says what to do by hand.
        UserError: the card has no downloads, a file's digest is not the one of the card or of the first download, or
            an archive is unsafe.
    """
    if not dataset.card.downloads:
        if dataset.folder.exists():
            raise UserError(f"dataset {dataset.name!r} has no download; it lies at {dataset.folder}")
        raise UserError(f"dataset {dataset.name!r} has no automatic download\n{dataset.how_to_get()}")
    wanted = [item for item in dataset.card.downloads if not (dataset.folder / item.to).exists()]
    return [_fetch(dataset.folder, item, start) for item in wanted]


def _fetch(folder: Path, item: Download, start: Callable[[str], Progress]) -> Path:
    name = Path(urlsplit(item.url).path).name
    target, brought = folder / item.to, folder / name
    by_hand = brought.is_file()
    file = brought if by_hand else folder / f".{name}"
    if not file.is_file():
        try:
            download(item.url, file, start(name))
        except DownloadFailed as error:
            raise DownloadFailed(
                f"{error}\nrun the command again: it goes on where it stopped; or get the file by hand\n"
                f"  from  {item.url}\n  to    {brought}\nand run it again, to verify and unpack it"
            ) from None
    try:
        _verify(folder, item, file)
    except UserError:
        if not by_hand:
            file.unlink()
        raise
    if item.unpack:
        unpack(file, target)
        file.unlink()
    else:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    return target


def _verify(folder: Path, item: Download, file: Path) -> None:
    """Compare with the card's digest, or else with the first download's; a first one is written down."""
    record: dict[str, Any] = {}
    if (folder / RECORD).is_file():
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
    sha256 = digest(file, "sha256")
    if item.sha256 != "unknown":
        _compare(item, file, "SHA-256 of the card", item.sha256, sha256)
    elif item.md5 != "unknown":
        _compare(item, file, "MD5 of the card", item.md5, digest(file, "md5"))
    if item.url in record:
        _compare(item, file, f"SHA-256 of the first download, in {folder / RECORD},", record[item.url], sha256)
    partial = folder / f"{RECORD}.partial"
    partial.write_text(json.dumps(record | {item.url: sha256}, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / RECORD)


def _compare(item: Download, file: Path, what: str, expected: str, found: str) -> None:
    if expected != found:
        raise UserError(
            f"{item.url}: the {what} is {expected}, but the file {file} ({file.stat().st_size} bytes) has {found}: it "
            f"was changed at the source or on the way, and is not used"
        )


def digest(file: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()
