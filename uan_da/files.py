"""Files that are written in one piece, and read with one message."""

import json
import os
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from uan_da.errors import UserError

PARTIAL = ".partial"
"""Ends the name of a file that is being written; a process that was killed may leave one."""


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A new file to fill, which gets its name once it is complete and on the disk: a reader finds the old file or the
    new one, never half. Where writing fails, the old one stays. Its mode follows the umask."""
    partial = path.with_name(f"{path.name}.{os.getpid()}{PARTIAL}")
    partial.unlink(missing_ok=True)
    number = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
    try:
        with open(number, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file in one piece."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file in one piece."""
    write_text(path, json.dumps(content, indent=1, allow_nan=False) + "\n")


def read_bytes(path: Path) -> bytes:
    """The content of a regular file.

    Raises:
        UserError: there is none, or it cannot be read. A FIFO or a device is not waited for.
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UserError(f"{path}: is not a regular file")
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from error


def read_json(path: Path) -> dict[str, Any]:
    """The mapping in a JSON file.

    Raises:
        UserError: there is none, or it is damaged.
    """
    try:
        content = json.loads(read_bytes(path))
    except (ValueError, RecursionError) as error:  # not UTF-8, not JSON, nested without end
        raise UserError(f"{path}: is damaged: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path}: is damaged: it holds no mapping")
    return content
