"""A compressed file's content, read once from start to end, with bounds on its length and on the memory it takes."""

import bz2
import gzip
import lzma
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Protocol

from uan_da.errors import UserError

MEMORY = 256 * 1024**2
"""Bytes that a decompressor may take; those of ``xz -9`` are a quarter of it."""
CHUNK = 64 * 1024


class Readable(Protocol):
    """What a tar is read from."""

    def read(self, size: int, /) -> bytes:
        """The next bytes, no more than ``size``; none at the end."""


class Bounded:
    """A stream of at most ``limit`` bytes."""

    def __init__(self, path: Path, stream: Readable, limit: int) -> None:
        self.path, self.stream, self.limit, self.left = path, stream, limit, limit

    def read(self, size: int, /) -> bytes:
        """The next bytes, no more than ``size``.

        Raises:
            UserError: the content is longer than the limit.
        """
        found = self.stream.read(min(size, self.left + 1))
        self.left -= len(found)
        if self.left < 0:
            raise UserError(f"{self.path}: refused: it would unpack to more than {self.limit} bytes")
        return found


class XzFile:
    """An xz or lzma file, decompressed in limited memory: the file says itself how much it wants."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file, self.decoder = file, lzma.LZMADecompressor(memlimit=MEMORY)

    def read(self, size: int, /) -> bytes:
        """The next bytes, no more than ``size``; none at the end."""
        found = b""
        while not found:
            chunk = self.decoder.unused_data if self.decoder.eof else b""
            if self.decoder.eof:  # a file may hold several streams, one after the other
                chunk = chunk or self.file.read(CHUNK)
                if not chunk.strip(b"\0"):
                    return b""
                self.decoder = lzma.LZMADecompressor(memlimit=MEMORY)
            elif self.decoder.needs_input:
                chunk = self.file.read(CHUNK)
                if not chunk:
                    raise EOFError("the compressed file is cut off")
            found = self.decoder.decompress(chunk, size)
        return found


@contextmanager
def decompressed(path: Path, limit: int) -> Iterator[Bounded]:
    """The content of a gzip, bzip2 or xz file, or of one that is not compressed."""
    with path.open("rb") as file:
        head = file.read(6)
        file.seek(0)
        if head.startswith(b"\x1f\x8b"):
            stream: Readable = gzip.GzipFile(fileobj=file)
        elif head.startswith(b"BZh"):
            stream = bz2.BZ2File(file)
        elif head.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
            stream = XzFile(file)
        else:
            stream = file
        yield Bounded(path, stream, limit)
