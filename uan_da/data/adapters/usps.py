"""USPS digits in LIBSVM's format (Hull, 1994; https://www.csie.ntu.edu.tw/~cjlin/libsvmtools/datasets/)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.datasets import load_svmlight_file

from uan_da.data.adapter import Arrays, Split
from uan_da.data.user_files import find_file
from uan_da.errors import UserError

SIDE = 16


class Usps:
    """USPS as LIBSVM ships it, ``usps.bz2`` and ``usps.t.bz2``: labels 1 … 10 are the digits 0 … 9."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, classes

    def load(self, domain: str, split: Split) -> Arrays:
        """Images ``(N, 16, 16)``, from values −1 … 1 to 0 … 255."""
        stem = "usps" if split == "train" else "usps.t"
        path = find_file(self.folder / domain, f"{stem}.bz2", stem)
        try:
            values, labels = load_svmlight_file(str(path), n_features=SIDE**2, zero_based=False)
        except Exception as error:  # a damaged file makes its reader raise all kinds
            raise UserError(f"{path}: not USPS in LIBSVM's format ({error})") from None
        pixels = ((values.toarray() + 1) / 2 * 255).round().clip(0, 255).astype(np.uint8)
        return Arrays(pixels.reshape(-1, SIDE, SIDE), labels.astype(np.int64) - 1)
