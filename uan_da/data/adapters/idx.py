"""IDX files: MNIST, Fashion-MNIST and their kind (http://yann.lecun.com/exdb/mnist/)."""

import gzip
import math
import struct
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from uan_da.data.adapter import Arrays, Split
from uan_da.data.unpack import ALLOWANCE, RATIO
from uan_da.data.user_files import find_file
from uan_da.errors import UserError

UBYTE = 0x08
PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}


class Idx:
    """IDX files as MNIST ships them, ``train-images-idx3-ubyte`` and so on, gzipped or not."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, classes

    def load(self, domain: str, split: Split) -> Arrays:
        """Images ``(N, H, W)`` and labels of the files in the domain's folder."""
        images, labels = (
            self._read(domain, f"{PREFIX[split]}-{kind}-ubyte") for kind in ("images-idx3", "labels-idx1")
        )
        if images.ndim != 3 or labels.ndim != 1 or len(images) != len(labels):
            raise UserError(
                f"{self.folder / domain}: {split} images {images.shape} and labels {labels.shape} do not go together"
            )
        return Arrays(images, labels)

    def _read(self, domain: str, name: str) -> NDArray[np.uint8]:
        # some mirrors unpack to a dot in place of the second dash
        names = [name, f"{name}.gz", name.replace("-idx", ".idx")]
        return read_idx(find_file(self.folder / domain, *names))


def read_idx(path: Path) -> NDArray[np.uint8]:
    """An IDX file of unsigned bytes: two zero bytes, the type, the number of axes, their big-endian lengths, the data.

    Raises:
        UserError: the file is not that, or its length is not the one that its head promises.
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            zeros, kind, axes = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{axes}I", file.read(4 * axes))
            if zeros or kind != UBYTE:
                raise UserError(f"{path}: not an IDX file of unsigned bytes")
            size = math.prod(shape)
            if size > RATIO * path.stat().st_size + ALLOWANCE:
                raise UserError(
                    f"{path}: its head promises {size} bytes of data, which a file of its size does not hold"
                )
            data = file.read(size)
            left = file.read(1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise UserError(f"{path}: not a whole IDX file ({error})") from None
    if len(data) != size or left:
        raise UserError(f"{path}: its head promises {size} bytes of data, it has {'more' if left else len(data)}")
    return np.frombuffer(data, dtype=np.uint8).reshape(shape)
