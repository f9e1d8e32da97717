"""Archives from the network, unpacked without trusting them."""

import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from uan_da.data.decompressed import decompressed
from uan_da.errors import UserError

RATIO, ALLOWANCE = 20, 64 * 1024**2
"""An archive may unpack to so many times its size and so many bytes more; images hardly shrink when they are packed."""
ENTRIES = 2_000_000
HEADER = 1024**2
"""Bytes of a tar's head of a long name or of further attributes, which is read whole."""
CHUNK = 1024**2


class UnsafeArchive(UserError):
    """An archive that would write outside its folder, follow a link, or fill the disk or the memory."""


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
        UserError: it is no whole archive, or an empty one.
    """
    assert not folder.exists()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=folder.parent) as name:
        inside = Path(name) / "content"
        inside.mkdir()
        try:
            _write(archive, inside, RATIO * archive.stat().st_size + ALLOWANCE)
        except UserError:
            raise
        except _LargeHead as error:
            raise UnsafeArchive(f"{archive}: refused: {error}") from None
        except OSError as error:
            raise UserError(f"{archive}: cannot be unpacked ({error.strerror or error})") from error
        except Exception as error:  # archives that are damaged make their readers raise all kinds
            raise UserError(f"{archive}: cannot be unpacked ({error})") from error
        top = list(inside.iterdir())
        if not top:
            raise UserError(f"{archive}: cannot be unpacked (it is empty)")
        (top[0] if len(top) == 1 and top[0].is_dir() else inside).rename(folder)


def _write(archive: Path, folder: Path, limit: int) -> None:
    written = 0
    for number, entry in enumerate(_entries(archive, limit)):
        target = folder / _safe(archive, entry.name)
        written += entry.size
        if number >= ENTRIES or written > limit:
            raise _too_much(archive, limit)
        if entry.content is None:
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists():
            raise UnsafeArchive(f"{archive}: refused: {entry.name!r} appears twice in it")
        with entry.content, target.open("xb") as file:
            _copy(archive, entry, file)


def _too_much(archive: Path, limit: int) -> UnsafeArchive:
    return UnsafeArchive(f"{archive}: refused: it would unpack to more than {limit} bytes or {ENTRIES} files")


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


def _entries(archive: Path, limit: int) -> Iterator[Entry]:
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as zipped:
            yield from _zip_entries(archive, zipped)
    else:
        yield from _tar_entries(archive, limit)


def _zip_entries(archive: Path, opened: zipfile.ZipFile) -> Iterator[Entry]:
    for info in opened.infolist():
        kind = (info.external_attr >> 16) & 0o170000
        if kind not in (0, 0o100000, 0o040000):
            raise UnsafeArchive(f"{archive}: refused: {info.filename!r} is a link or a device")
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2):
            raise UnsafeArchive(
                f"{archive}: refused: {info.filename!r} is packed in a way whose memory has no limit; unpack it by hand"
            )
        yield Entry(info.filename, info.file_size, None if info.is_dir() else opened.open(info))


class _LargeHead(Exception):
    """A head that would be read into memory whole."""


class _Header(tarfile.TarInfo):
    """The head of a tar's entry, whose further parts are read into memory only if they are small."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> "_Header":
        found = super().frombuf(buf, encoding, errors)
        plain = found.isreg() or found.isdir() or found.islnk() or found.issym() or found.isdev()
        if not plain and found.size > HEADER:
            raise _LargeHead(f"a head of {found.size} bytes")
        return found


class _Tar(tarfile.TarFile):
    tarinfo = _Header


def _tar_entries(archive: Path, limit: int) -> Iterator[Entry]:
    """From first to last, in one pass: nothing is read before the limits have had their say."""
    with decompressed(archive, 2 * limit) as stream:
        try:
            opened = _Tar.open(fileobj=stream, mode="r|")  # type: ignore[call-overload]
        except tarfile.ReadError:
            raise UserError(f"{archive}: neither a tar nor a zip archive") from None
        with opened:
            for member in opened:
                if not (member.isreg() or member.isdir()):
                    raise UnsafeArchive(f"{archive}: refused: {member.name!r} is a link or a device")
                yield Entry(member.name, member.size if member.isreg() else 0, opened.extractfile(member))
                opened.members = []  # which would keep all of them
        while stream.read(CHUNK):  # to the sum at the end of the compressed file
            pass
