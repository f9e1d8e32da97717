import bz2
from pathlib import Path

import numpy as np
import pytest

from uan_da.data.adapters.usps import Usps
from uan_da.errors import UserError


def line(label: int, values: np.ndarray) -> str:
    return f"{label} " + " ".join(f"{i}:{v:.6g}" for i, v in enumerate(values, start=1)) + " \n"


def test_the_files_of_libsvm(tmp_path: Path) -> None:
    """A digit a line: its label 1 … 10 and 256 values ``index:value`` in [−1, 1]."""
    values = np.random.default_rng(0).uniform(-1, 1, (4, 256))
    values[0, :3] = (-1, 1, 0)
    for name, rows in (("usps.bz2", [0, 1, 2]), ("usps.t.bz2", [3])):
        text = "".join(line(10 if row == 1 else row + 1, values[row]) for row in rows)
        (tmp_path / name).write_bytes(bz2.compress(text.encode()))
    train, test = (Usps(tmp_path, "0123456789").load("", split) for split in ("train", "test"))
    assert train.labels.tolist() == [0, 9, 2]
    assert test.labels.tolist() == [3]
    assert train.images.shape == (3, 16, 16)
    assert train.images[0, 0, :3].tolist() == [0, 255, 128]
    np.testing.assert_allclose(train.images.reshape(3, -1), (values[:3] + 1) * 127.5, atol=0.51)


@pytest.mark.parametrize("content", [b"not bz2", bz2.compress(b"1 1:0.5 ab:1\n")])
def test_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "usps.bz2").write_bytes(content)
    with pytest.raises(UserError, match=r"usps\.bz2: not USPS"):
        Usps(tmp_path, ()).load("", "train")
