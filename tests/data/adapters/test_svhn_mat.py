from pathlib import Path

import numpy as np
import pytest
from scipy.io import savemat

from uan_da.data.adapters.svhn_mat import SvhnMat
from uan_da.errors import UserError


def test_the_files_of_svhn(tmp_path: Path) -> None:
    """``X`` is ``(32, 32, 3, N)``, ``y`` ``(N, 1)`` with 10 for the digit 0."""
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3, 4), dtype=np.uint8)
    (tmp_path / "svhn").mkdir()
    for split, y in (("train", [10, 1, 9, 5]), ("test", [2, 2, 10, 1])):
        content = {"X": pixels, "y": np.array(y, dtype=np.uint8)[:, None]}
        savemat(tmp_path / "svhn" / f"{split}_32x32.mat", content, do_compression=True)
    train, test = (SvhnMat(tmp_path, "0123456789").load("svhn", split) for split in ("train", "test"))
    assert train.labels.tolist() == [0, 1, 9, 5]
    assert test.labels.tolist() == [2, 2, 0, 1]
    image, _ = train[2]
    assert np.array_equal(np.asarray(image), pixels[..., 2])


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "train_32x32.mat").write_bytes(b"no matlab" * 50)
    savemat(tmp_path / "test_32x32.mat", {"X": np.zeros(3)})
    for split in ("train", "test"):
        with pytest.raises(UserError, match="not a MATLAB file of SVHN"):
            SvhnMat(tmp_path, ()).load("", split)  # type: ignore[arg-type]
