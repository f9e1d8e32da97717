from pathlib import Path
from typing import Any

import numpy as np
import pytest

from uan_da.data.adapters.npz import Npz
from uan_da.errors import UserError

GREY = np.random.default_rng(0).integers(0, 256, (6, 8, 8), dtype=np.uint8)


def test_an_archive_with_both_splits(tmp_path: Path) -> None:
    labels = np.arange(6)
    np.savez(tmp_path / "scan.npz", train_images=GREY[:4], train_labels=labels[:4], test_images=GREY[4:])
    adapter = Npz(tmp_path, ())
    train, test = adapter.load("scan", "train"), adapter.load("scan", "test")
    assert np.array_equal(train.images, GREY[:4])
    assert train.labels.tolist() == [0, 1, 2, 3]
    assert test.labels.tolist() == [-1, -1]


def test_an_archive_without_splits(tmp_path: Path) -> None:
    images = np.repeat(np.arange(100, dtype=np.uint8), 3).reshape(100, 1, 1, 3)
    np.savez_compressed(tmp_path / "all.npz", x=images, y=np.arange(100))
    adapter = Npz(tmp_path, (), file="all.npz", images="x", labels="y")
    parts = [adapter.load("any", split) for split in ("train", "test")]
    assert sorted(np.concatenate([part.labels for part in parts])) == list(range(100))
    assert all((part.images[:, 0, 0, 0] == part.labels).all() and len(part) for part in parts)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"test_images": GREY}, "no array 'train_images' .available: test_images"),
        ({"train_images": GREY.astype(float)}, r"expected uint8 .* got float64 \(6, 8, 8\)"),
        ({"train_images": GREY.reshape(2, 3, 8, 8)}, r"got uint8 \(2, 3, 8, 8\)"),
        ({"train_images": GREY, "train_labels": np.zeros(5, int)}, r"expected 6 integers, but got int64 \(5,\)"),
        ({"train_images": np.array([{}], dtype=object)}, "plain arrays"),
    ],
)
def test_mistakes(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    np.savez(tmp_path / "scan.npz", **arrays)
    with pytest.raises(UserError, match=message):
        Npz(tmp_path, ()).load("scan", "train")


def test_what_is_no_archive(tmp_path: Path) -> None:
    (tmp_path / "scan.npz").write_bytes(b"nothing")
    with pytest.raises(UserError, match="not a NumPy archive"):
        Npz(tmp_path, ()).load("scan", "train")
