"""Archives from the network, unpacked without trusting them."""

import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from uan_da.errors import UserError

RATIO, ALLOWANCE = 20, 64 * 1024**2
"""An archive may unpack to so many times its size and so many bytes more; images hardly shrink when they are packed."""
ENTRIES = 2_000_000
CHUNK = 1024**2


class UnsafeArchive(UserError):
    """An archive that would write outside its folder, follow a link, or fill the disk."""


@dataclass(frozen=True)
class Entry:
    """A file or folder in an archive; ``content`` is None for a folder."""

    name: str
    size: int
    content: IO[bytes] | None


def unpack(archive: Path, folder: Path) -> None:
    """Unpack a tar or zip ``archive`` to the new ``folder``, all of it or nothing.

    Only plain files and folders are taken, with the permissions of new files. Where the archive holds one folder and
    nothing beside it, that folder becomes ``folder``.

    Raises:
        UnsafeArchive: a path is absolute or leads out of the folder, an entry is a link or a device or stands twice,
            or the content is too large for the archive's size. Nothing is left behind.
        UserError: it is no whole archive.
    """
    assert not folder.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    limit = RATIO * archive.stat().st_size + ALLOWANCE
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as name:
        inside = Path(name) / "content"
        inside.mkdir()
        try:
            _write(archive, inside, limit)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise UserError(f"{archive}: cannot be unpacked ({error})") from error
        top = list(inside.iterdir())
        (top[0] if len(top) == 1 and top[0].is_dir() else inside).rename(folder)


def _write(archive: Path, folder: Path, limit: int) -> None:
    written = 0
    for number, entry in enumerate(_entries(archive)):
        target = folder / _safe(archive, entry.name)
        written += entry.size
        if number >= ENTRIES or written > limit:
            raise UnsafeArchive(f"{archive}: refused: it would unpack to more than {limit} bytes or {ENTRIES} files")
        if entry.content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise UnsafeArchive(f"{archive}: refused: {entry.name!r} stands twice in it")
        with entry.content, target.open("xb") as file:
            _copy(archive, entry, file)


def _copy(archive: Path, entry: Entry, file: IO[bytes]) -> None:
    """Copy at most what the entry's head promises: a head may lie."""
    assert entry.content is not None
    left = entry.size
    while chunk := entry.content.read(CHUNK):
        left -= len(chunk)
        if left < 0:
            raise UnsafeArchive(f"{archive}: refused: {entry.name!r} is larger than the archive says")
        file.write(chunk)
    if left:
        raise UserError(f"{archive}: {entry.name!r} is cut off")


def _safe(archive: Path, name: str) -> PurePosixPath:
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or PureWindowsPath(name).drive or "\0" in name:
        raise UnsafeArchive(f"{archive}: refused: the path {name!r} leads out of the folder")
    return path


def _entries(archive: Path) -> Iterator[Entry]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield from _zip_entries(archive, zipped)
    elif tarfile.is_tarfile(archive):
        with tarfile.open(archive) as opened:
            yield from _tar_entries(archive, opened)
    else:
        raise UserError(f"{archive}: neither a tar nor a zip archive")


def _zip_entries(archive: Path, opened: zipfile.ZipFile) -> Iterator[Entry]:
    for info in opened.infolist():
        kind = (info.external_attr >> 16) & 0o170000
        if kind not in (0, 0o100000, 0o040000):
            raise UnsafeArchive(f"{archive}: refused: {info.filename!r} is a link or a device")
        yield Entry(info.filename, info.file_size, None if info.is_dir() else opened.open(info))


def _tar_entries(archive: Path, opened: tarfile.TarFile) -> Iterator[Entry]:
    for member in opened:
        if not (member.isreg() or member.isdir()):
            raise UnsafeArchive(f"{archive}: refused: {member.name!r} is a link or a device")
        yield Entry(member.name, member.size if member.isreg() else 0, opened.extractfile(member))
