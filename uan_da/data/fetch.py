"""A card's data from its official source to where the card is looked for."""

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path, PurePath
from urllib.parse import urlsplit

from uan_da.data.adapter import MissingData, Split
from uan_da.data.card import Download
from uan_da.data.card_dataset import CardDataset
from uan_da.data.download import DownloadFailed, download
from uan_da.data.progress import Start, unseen
from uan_da.data.unpack import unpack
from uan_da.errors import UserError

RECORD = "fetched.json"
"""Beside the data: the URL and SHA-256 of every file that was fetched and found to be what the card says."""
SPLITS: tuple[Split, Split] = ("train", "test")


def fetch(dataset: CardDataset, start: Start = unseen) -> list[Path]:
    """Bring all files of the card that are not here yet; returns where they went.

    A file that was brought by hand to the data set's folder, under the name that it has at the source, is taken in
    place of the download. ``start`` is called with the name of each download and returns what shows its progress.

    A file whose digest the card does not know is believed, and its digest is written down, once the domains that it
    brings can be read and count as the card says; if they do not, it is removed, so that it can be fetched anew.

    Raises:
        DownloadFailed: says what to do by hand.
        UserError: the card has no downloads or leads out of its folder, a file's digest or size is not the one of the
            card or of the first download, an archive is unsafe, or what it holds is not what the card says.
    """
    if not dataset.card.downloads:
        if dataset.folder.exists():
            raise UserError(f"dataset {dataset.name!r} has no download; it lies at {dataset.folder}")
        raise UserError(f"dataset {dataset.name!r} has no automatic download\n{dataset.how_to_get()}")
    _check_folder(dataset)
    record = _read_record(dataset.folder)
    wanted = [item for item in dataset.card.downloads if not (dataset.folder / item.to).exists()]
    before = _problems(dataset)
    digests = {item.url: _fetch(dataset.folder, item, record, start) for item in wanted}
    if wanted:
        _confirm(dataset, wanted, before)
        _write_record(dataset.folder, {**record, **digests})
    return [dataset.folder / item.to for item in wanted]


def _check_folder(dataset: CardDataset) -> None:
    """A card of someone else does not say where on this machine files are written."""
    place = PurePath(dataset.card.folder or "")
    if place.is_absolute() or ".." in place.parts or str(place).startswith("~"):
        raise UserError(
            f"dataset {dataset.name!r}: its folder {dataset.card.folder!r} is not below the card, and nothing is "
            f"downloaded to it: leave 'folder' out of the card, and name the place by --data-root"
        )


def _fetch(folder: Path, item: Download, record: Mapping[str, str], start: Start) -> str:
    """Bring one file to its place; returns its SHA-256."""
    name = Path(urlsplit(item.url).path).name
    target, brought = folder / item.to, folder / name
    by_hand = brought.is_file()
    file = brought if by_hand else folder / f".{name}"
    if not file.is_file():
        try:
            download(item.url, file, start(name), item.size)
        except DownloadFailed as error:
            raise DownloadFailed(
                f"{error}\nrun the command again: it goes on where it stopped; or get the file by hand\n"
                f"  from  {item.url}\n  to    {brought}\nand run it again, to verify and unpack it"
            ) from None
    try:
        sha256 = _verify(folder, item, file, record)
        if item.unpack:
            unpack(file, target)
            file.unlink()
    except UserError:
        if not by_hand:
            file.unlink()
        raise
    if not item.unpack:
        target.parent.mkdir(parents=True, exist_ok=True)
        file.replace(target)
    return sha256


def _verify(folder: Path, item: Download, file: Path, record: Mapping[str, str]) -> str:
    """Compare with the card's size and digest, and with the digest of the first download; returns the SHA-256."""
    sha256, size = digest(file, "sha256"), file.stat().st_size
    if item.size is not None and size != item.size:
        raise UserError(f"{item.url}: the card says {item.size} bytes, but the file {file} has {size}: it is not used")
    if item.sha256 != "unknown":
        _compare(item, file, "SHA-256 of the card", item.sha256, sha256)
    elif item.md5 != "unknown":
        _compare(item, file, "MD5 of the card", item.md5, digest(file, "md5"))
    if item.url in record:
        what = f"SHA-256 of the first download, in {folder / RECORD},"
        _compare(item, file, what, record[item.url], sha256, f"; to accept the new one, delete {folder / RECORD}")
    return sha256


def _compare(item: Download, file: Path, what: str, expected: str, found: str, way_out: str = "") -> None:
    if expected != found:
        raise UserError(
            f"{item.url}: the {what} is {expected}, but the file {file} ({file.stat().st_size} bytes) has {found}: it "
            f"was changed at the source or on the way, and is not used{way_out}"
        )


def _problems(dataset: CardDataset) -> dict[str, UserError]:
    """Why domains cannot be read as the card describes them: :class:`MissingData` of those that are not here."""
    found = {name: _problem(dataset, name) for name in dataset.domains}
    return {name: problem for name, problem in found.items() if problem is not None}


def _problem(dataset: CardDataset, name: str) -> UserError | None:
    for split in SPLITS:
        try:
            count = len(dataset.load(name, split))
        except UserError as error:
            return error
        expected = getattr(dataset.card.domains[name], split)
        if expected is not None and count != expected:
            return UserError(f"{split}: {count} images, the card says {expected}")
    return None


def _confirm(dataset: CardDataset, wanted: list[Download], before: Mapping[str, UserError]) -> None:
    """Refuse new files whose digest the card does not know, unless they bring a domain, and bring no wrong one."""
    unknown, after = [item for item in wanted if item.sha256 == item.md5 == "unknown"], _problems(dataset)
    wrong = {
        name: problem
        for name, problem in after.items()
        if not isinstance(problem, MissingData) and str(before.get(name)) != str(problem)
    }
    if not unknown or (not wrong and len(after) < len(dataset.domains)):
        return
    for item in unknown:
        place = dataset.folder / item.to
        shutil.rmtree(place) if place.is_dir() else place.unlink()
    name, problem = next(iter((wrong or after).items()))
    raise UserError(
        f"dataset {dataset.name!r}: what was fetched is not what the card says; domain {name!r}: "
        f"{str(problem).partition(chr(10))[0]}\nit was removed: {', '.join(item.url for item in unknown)}; look at "
        f"what the source sends, and fetch it anew"
    )


def _read_record(folder: Path) -> dict[str, str]:
    path = folder / RECORD
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: cannot be read ({error}); delete it to trust the next download") from None
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise UserError(f"{path}: holds something else than digests; delete it to trust the next download")
    return found


def _write_record(folder: Path, record: Mapping[str, str]) -> None:
    partial = folder / f"{RECORD}.partial"
    partial.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    partial.replace(folder / RECORD)


def digest(file: Path, algorithm: str) -> str:
    """The hexadecimal digest of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, algorithm).hexdigest()
