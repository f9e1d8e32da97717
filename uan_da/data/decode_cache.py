"""Decoded image files, kept on disk between trainings and mapped into memory.

``UAN_DA_CACHE`` says where (default: ``decoded`` in the user's cache of uan-da); ``off`` keeps nothing,
and so does a user without a home.
"""

import hashlib
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import IO

import numpy as np
import torch

from uan_da.data.file_digests import file_digests
from uan_da.data.image_files import READING, ImageFiles
from uan_da.data.images import Images, decode_into
from uan_da.data.progress import Progress, silent
from uan_da.errors import DataWarning
from uan_da.folders import expanded, user_cache
from uan_da.recipe.network import Input

VARIABLE = "UAN_DA_CACHE"
CHUNK = 16 * 1024**2
"""Bytes."""


def cache_folder() -> Path | None:
    """Where decoded images are kept, or None."""
    given = os.environ.get(VARIABLE)
    if given == "off":
        return None
    cache = user_cache()
    return expanded(Path(given)) if given else cache and cache / "decoded"


def cached(examples: ImageFiles, input: Input, progress: Progress = silent) -> Images | None:
    """The examples' pixels, mapped from the cache; decoded into it where they are not there yet.

    The key is the content of all files, in their order, and the input's size and channels: a changed image is decoded
    anew.

    Returns:
        None where no cache is wanted, or it would take more than half of the disk's free space.
    """
    folder = cache_folder()
    if folder is None or not len(examples):
        return None
    shape = (len(examples), input.channels, input.size, input.size)
    size = int(np.prod(shape))
    path = folder / f"{_key(examples, input)}.u8"
    if not path.is_file() or path.stat().st_size != size:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(folder).free
            if size > free / 2:
                _warn(folder, f"they would take {size / 1e9:.1f} of its disk's {free / 1e9:.1f} GB")
                return None
            _fill(path, shape, examples, input, progress)
        except OSError as error:  # a disk that is full or read-only costs the cache, not the training
            _warn(folder, error.strerror or str(error))
            return None
    pixels = np.memmap(path, dtype=np.uint8, mode="c", shape=shape)
    return Images(torch.from_numpy(pixels), torch.tensor(examples.labels, dtype=torch.int64))


def _fill(path: Path, shape: tuple[int, ...], examples: ImageFiles, input: Input, progress: Progress) -> None:
    partial = path.with_suffix(f".partial-{os.getpid()}")
    try:
        with partial.open("wb") as file:
            allocate(file, int(np.prod(shape)))
        pixels = np.memmap(partial, dtype=np.uint8, mode="r+", shape=shape)
        decode_into(pixels, examples, input, progress)
        pixels.flush()
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def allocate(file: IO[bytes], size: int) -> None:
    """Give an empty file ``size`` bytes that are its own: mapped memory without them ends a process, on a full disk.

    Raises:
        OSError: there are not so many.
    """
    if sys.platform == "linux":
        os.posix_fallocate(file.fileno(), 0, size)
        return
    for start in range(0, size, CHUNK):
        file.write(bytes(min(CHUNK, size - start)))
    file.flush()
    os.fsync(file.fileno())


def _warn(folder: Path, reason: str) -> None:
    warnings.warn(
        f"decoded images are not kept in {folder} ({reason}), and are decoded again each time: make room, or name "
        f"another folder by {VARIABLE}",
        DataWarning,
        stacklevel=3,
    )


def _key(examples: ImageFiles, input: Input) -> str:
    how = f"{READING} {input.size} {input.channels}" + (" short" if input.resize == "short" else "")
    key = hashlib.blake2b(how.encode(), digest_size=16)
    for digest in file_digests(examples.paths):
        key.update(digest)
    return key.hexdigest()
