"""Files of arrays with flipped bits and cut ends: read, or refused with one message that names the file."""

import bz2
import contextlib
import gzip
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import savemat

from uan_da.data.adapters.cifar import Cifar
from uan_da.data.adapters.cifar_c import CifarC
from uan_da.data.adapters.idx import Idx, read_idx
from uan_da.data.adapters.npz import Npz
from uan_da.data.adapters.svhn_mat import SvhnMat
from uan_da.data.adapters.usps import Usps
from uan_da.errors import UserError

CLASSES = tuple("0123456789")
PIXELS = np.random.default_rng(0).integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
LABELS = np.arange(10)


def npz(folder: Path) -> tuple[Any, Path]:
    np.savez_compressed(folder / "a.npz", train_images=PIXELS, train_labels=LABELS)
    return Npz(folder, CLASSES), folder / "a.npz"


def idx(folder: Path) -> tuple[Any, Path]:
    (folder / "a").mkdir()
    for name, array in (("images-idx3", PIXELS[..., 0]), ("labels-idx1", LABELS.astype(np.uint8))):
        head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
        (folder / "a" / f"train-{name}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))
    return Idx(folder, CLASSES), folder / "a" / "train-images-idx3-ubyte.gz"


def mat(folder: Path) -> tuple[Any, Path]:
    (folder / "a").mkdir()
    savemat(
        folder / "a" / "train_32x32.mat", {"X": PIXELS.transpose(1, 2, 3, 0), "y": LABELS[:, None]}, do_compression=True
    )
    return SvhnMat(folder, CLASSES), folder / "a" / "train_32x32.mat"


def usps(folder: Path) -> tuple[Any, Path]:
    lines = (f"{label + 1} " + " ".join(f"{i + 1}:{i / 256:.3f}" for i in range(256)) for label in LABELS)
    (folder / "a").mkdir()
    (folder / "a" / "usps.bz2").write_bytes(bz2.compress("\n".join(lines).encode()))
    return Usps(folder, CLASSES), folder / "a" / "usps.bz2"


def cifar(folder: Path) -> tuple[Any, Path]:
    (folder / "a").mkdir()
    records = np.concatenate([LABELS[:, None].astype(np.uint8), PIXELS.reshape(10, -1)], axis=1)
    for number in range(1, 6):
        (folder / "a" / f"data_batch_{number}.bin").write_bytes(records.tobytes())
    return Cifar(folder, CLASSES), folder / "a" / "data_batch_3.bin"


def cifar_c(folder: Path) -> tuple[Any, Path]:
    np.save(folder / "a.npy", PIXELS)
    np.save(folder / "labels.npy", LABELS[:2].repeat(5))
    return CifarC(folder, CLASSES), folder / "a.npy"


@pytest.mark.parametrize("make", [npz, idx, mat, usps, cifar, cifar_c])
def test_damaged_files(tmp_path: Path, make: Callable[[Path], tuple[Any, Path]]) -> None:
    adapter, path = make(tmp_path)
    whole, draw = path.read_bytes(), random.Random(0)
    assert len(adapter.load("a", "train"))
    refused = 0
    for turn in range(40):
        damaged = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            damaged[draw.randrange(min(len(damaged), 400 if turn % 2 else 10**9))] ^= 1 << draw.randrange(8)
        path.write_bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        with contextlib.suppress(UserError):
            adapter.load("a", "train")
            refused -= 1
        refused += 1
    assert refused > 5


def test_a_head_that_promises_more_than_a_file_can_hold(tmp_path: Path) -> None:
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(struct.pack(">HBB3I", 0, 8, 3, 2**20, 2**20, 2**20)))
    with pytest.raises(UserError, match="which a file of its size does not hold"):
        read_idx(path)


def test_grey_images_with_an_axis_for_it(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", train_images=PIXELS[..., :1], train_labels=LABELS)
    found = Npz(tmp_path, CLASSES).load("a", "train")
    assert found[3][0].mode == "L"
    assert (np.asarray(found[3][0]) == PIXELS[3, ..., 0]).all()
