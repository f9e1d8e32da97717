"""CIFAR-10 and CIFAR-100, binary version (Krizhevsky, 2009, https://www.cs.toronto.edu/~kriz/cifar.html).

The Python version of the archives holds pickles, which execute what they contain; it is not read here.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from uan_da.data.adapter import Arrays, MissingData, Split
from uan_da.data.user_files import find_file
from uan_da.errors import UserError

PIXELS = 3 * 32 * 32
FILES: dict[tuple[int, Split], list[str]] = {
    (10, "train"): [f"data_batch_{number}.bin" for number in range(1, 6)],
    (10, "test"): ["test_batch.bin"],
    (100, "train"): ["train.bin"],
    (100, "test"): ["test.bin"],
}


class Cifar:
    """CIFAR-10 or CIFAR-100 in the binary version."""

    def __init__(self, folder: Path, classes: Sequence[str], *, variant: Literal[10, 100] = 10) -> None:
        self.folder, self.classes, self.variant = folder, classes, variant

    def load(self, domain: str, split: Split) -> Arrays:
        """Images ``(N, 32, 32, 3)``; a record is its label (CIFAR-100: coarse, fine) and the red, green, blue plane."""
        head = 1 if self.variant == 10 else 2
        records = [self._read(domain, name, head + PIXELS) for name in FILES[self.variant, split]]
        together = np.concatenate(records)
        images = together[:, head:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return Arrays(np.ascontiguousarray(images), together[:, head - 1])

    def _read(self, domain: str, name: str, length: int) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
        try:
            path = find_file(self.folder / domain, name)
        except MissingData as error:
            raise MissingData(f"{error} (the binary version is needed)") from None
        data = np.fromfile(path, dtype=np.uint8)
        if not len(data) or len(data) % length:
            raise UserError(f"{path}: {len(data)} bytes are not whole records of {length}")
        return data.reshape(-1, length)
