"""SVHN's cropped digits, MATLAB files (Netzer et al., 2011, http://ufldl.stanford.edu/housenumbers/)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat

from uan_da.data.adapter import Arrays, Split
from uan_da.data.user_files import find_file
from uan_da.errors import UserError


class SvhnMat:
    """SVHN's ``train_32x32.mat`` and ``test_32x32.mat``; its class 10 is the digit 0."""

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder, self.classes = folder, classes

    def load(self, domain: str, split: Split) -> Arrays:
        """Images ``(N, 32, 32, 3)`` from the file's ``X`` ``(32, 32, 3, N)`` and ``y`` ``(N, 1)``."""
        path = find_file(self.folder / domain, f"{split}_32x32.mat")
        try:
            content = loadmat(path)
            images = content["X"].transpose(3, 0, 1, 2).reshape(-1, 32, 32, 3).astype(np.uint8, casting="safe")
            labels = content["y"].reshape(len(images)).astype(np.int64) % 10
        except Exception as error:  # a damaged file makes its reader raise all kinds
            raise UserError(f"{path}: not a MATLAB file of SVHN ({error})") from None
        return Arrays(np.ascontiguousarray(images), labels)
