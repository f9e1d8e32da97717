"""Digests of files by their content, on all cores; a file that has not changed is read once a process."""

import hashlib
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from uan_da.errors import UserError

SIZE = 16
"""Bytes of a digest."""
SETTLED = 2.0
"""Seconds: a file that was changed more recently may change again within the resolution of its time stamp."""

_known: dict[tuple[str, int, int, int, int], bytes] = {}


def file_digests(paths: Sequence[Path]) -> list[bytes]:
    """The digest of each file, in their order.

    Raises:
        UserError: a file cannot be read; names it.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(file_digest, paths))


def file_digest(path: Path) -> bytes:
    """Of the file's content.

    Raises:
        UserError: it cannot be read.
    """
    try:
        state = path.stat()
        # the time of a file's last change, unlike that of its content, cannot be set by a program
        key = (os.fspath(path), state.st_dev, state.st_ino, state.st_size, state.st_ctime_ns)
        if key not in _known:
            found = hashlib.blake2b(path.read_bytes(), digest_size=SIZE).digest()
            if time.time() - state.st_ctime < SETTLED:
                return found
            _known[key] = found
        return _known[key]
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
