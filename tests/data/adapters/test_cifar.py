from pathlib import Path

import numpy as np
import pytest

from uan_da.data.adapter import MissingData
from uan_da.data.adapters.cifar import Cifar
from uan_da.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)


def records(images: np.ndarray, *heads: list[int]) -> bytes:
    """Label bytes, then the red, the green and the blue plane, row by row."""
    planes = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
    return np.concatenate([np.array(heads, dtype=np.uint8).T, planes], axis=1).tobytes()


def test_cifar10(tmp_path: Path) -> None:
    folder = tmp_path / "cifar10" / "cifar-10-batches-bin"
    folder.mkdir(parents=True)
    for number in range(5):
        part = slice(2 * number, 2 * number + 2)
        (folder / f"data_batch_{number + 1}.bin").write_bytes(records(IMAGES[part], [number, 9 - number]))
    (folder / "test_batch.bin").write_bytes(records(IMAGES[:1], [7]))
    adapter = Cifar(tmp_path, ())
    train = adapter.load("cifar10", "train")
    assert np.array_equal(train.images, IMAGES)
    assert train.labels.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    assert adapter.load("cifar10", "test").labels.tolist() == [7]


def test_cifar100_has_the_coarse_label_first(tmp_path: Path) -> None:
    (tmp_path / "train.bin").write_bytes(records(IMAGES, [19] * 10, list(range(90, 100))))
    train = Cifar(tmp_path, (), variant=100).load("", "train")
    assert train.labels.tolist() == list(range(90, 100))
    assert np.array_equal(train.images, IMAGES)


def test_other_files(tmp_path: Path) -> None:
    (tmp_path / "test_batch.bin").write_bytes(b"x" * 3000)
    with pytest.raises(UserError, match="3000 bytes are not whole records of 3073"):
        Cifar(tmp_path, ()).load("", "test")
    with pytest.raises(MissingData, match="binary version"):
        Cifar(tmp_path, ()).load("", "train")
