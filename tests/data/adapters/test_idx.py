import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from torchvision.datasets.mnist import read_sn3_pascalvincent_tensor

from uan_da.data.adapter import MissingData
from uan_da.data.adapters.idx import Idx, read_idx
from uan_da.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], dtype=np.uint8)


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape) + array.tobytes()


def write(folder: Path, prefix: str, *, gzipped: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for kind, array in (("images-idx3", IMAGES), ("labels-idx1", LABELS)):
        content = idx(array)
        name = f"{prefix}-{kind}-ubyte"
        (folder / (name + ".gz" * gzipped)).write_bytes(gzip.compress(content) if gzipped else content)


def test_the_files_of_mnist(tmp_path: Path) -> None:
    write(tmp_path / "mnist", "train", gzipped=True)
    write(tmp_path / "mnist" / "MNIST" / "raw", "t10k", gzipped=False)  # torchvision's place
    for split in ("train", "test"):
        found = Idx(tmp_path, "0123456789").load("mnist", split)  # type: ignore[arg-type]
        assert np.array_equal(found.images, IMAGES)
        image, label = found[2]
        assert (image.mode, image.size, label) == ("L", (28, 28), 4)


def test_torchvision_reads_the_same(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(idx(IMAGES))
    assert np.array_equal(read_sn3_pascalvincent_tensor(str(path)).numpy(), read_idx(path))


@pytest.mark.parametrize(
    "content", [b"", b"PNG", idx(LABELS)[:-1], idx(LABELS) + b"x", b"\0\0\x0d\x01" + idx(LABELS)[4:]]
)
def test_what_is_no_idx_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(UserError, match="x: "):
        read_idx(tmp_path / "x")


def test_a_broken_gzip_file_and_none(tmp_path: Path) -> None:
    (tmp_path / "x.gz").write_bytes(gzip.compress(idx(IMAGES))[:-30])
    with pytest.raises(UserError, match="not a whole IDX file"):
        read_idx(tmp_path / "x.gz")
    with pytest.raises(MissingData, match="train-images-idx3-ubyte"):
        Idx(tmp_path, ()).load("mnist", "train")
