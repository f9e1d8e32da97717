"""A data root with a few images of each data set that recipes name, in the files that the real ones come in."""

import bz2
import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from scipy.io import savemat

from uan_da.data.card import load_card

Bytes = NDArray[np.uint8]
RANDOM = np.random.default_rng(0)
DIGITS = np.arange(10, dtype=np.uint8)
SPLITS = (("train", 2), ("test", 1))
"""Images of each class in a split."""


def noise(*shape: int) -> Bytes:
    return RANDOM.integers(0, 256, shape, dtype=np.uint8)


def write_mnist(folder: Path) -> None:
    """IDX, gzipped: two zero bytes, the type, the number of axes, their lengths, the data."""
    folder.mkdir(parents=True)
    for split, count in SPLITS:
        labels = np.tile(DIGITS, count)
        prefix = "train" if split == "train" else "t10k"
        for kind, array in (("images-idx3", noise(len(labels), 28, 28)), ("labels-idx1", labels)):
            head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
            (folder / f"{prefix}-{kind}-ubyte.gz").write_bytes(gzip.compress(head + array.tobytes()))


def write_svhn(folder: Path) -> None:
    """MATLAB: ``X`` ``(32, 32, 3, N)``, ``y`` ``(N, 1)`` with 10 for the digit 0."""
    folder.mkdir(parents=True)
    for split, count in SPLITS:
        labels = np.tile(np.where(DIGITS == 0, 10, DIGITS), count)[:, None]
        content = {"X": noise(32, 32, 3, len(labels)), "y": labels}
        savemat(folder / f"{split}_32x32.mat", content, do_compression=True)


def write_usps(folder: Path) -> None:
    """LIBSVM's text, bzipped: the label 1 … 10, and 256 values ``index:value`` in [−1, 1]."""
    folder.mkdir(parents=True)
    for name, (_, count) in zip(("usps.bz2", "usps.t.bz2"), SPLITS, strict=True):
        rows = [(digit + 1, RANDOM.uniform(-1, 1, 256)) for digit in np.tile(DIGITS, count)]
        lines = [f"{label} " + " ".join(f"{i}:{v:.6g}" for i, v in enumerate(row, 1)) + " \n" for label, row in rows]
        (folder / name).write_bytes(bz2.compress("".join(lines).encode()))


def write_cifar(folder: Path, variant: int) -> None:
    """The binary version: label bytes (CIFAR-100: coarse, fine), then the red, the green and the blue plane."""
    folder.mkdir(parents=True)
    if variant == 10:
        names = [*(f"data_batch_{number}.bin" for number in range(1, 6)), "test_batch.bin"]
    else:
        names = ["train.bin", "test.bin"]
    fine = np.arange(variant, dtype=np.uint8)[:, None]
    for name in names:
        heads = fine if variant == 10 else np.concatenate([fine // 5, fine], axis=1)
        (folder / name).write_bytes(np.concatenate([heads, noise(variant, 3 * 32 * 32)], axis=1).tobytes())


def write_cifar_c(folder: Path, variant: int) -> None:
    """NumPy: a corruption's five severities of the test images one after another, and labels that repeat alike."""
    for name in load_card(f"cifar{variant}_c").domains:
        if not name.startswith("cifar"):
            np.save(folder / f"{name}.npy", noise(5 * variant, 32, 32, 3))
    np.save(folder / "labels.npy", np.tile(np.arange(variant, dtype=np.uint8), 5))


def write_folders(top: Path, dataset: str, file: str) -> None:
    """An image of each class of a card's domains, of several sizes; ``file`` has ``{domain}`` and ``{class}``."""
    card = load_card(dataset)
    for name, domain in card.domains.items():
        for number, label in enumerate(card.classes):
            path = top / file.format_map({"domain": domain.path or name, "class": label})
            path.parent.mkdir(parents=True)
            Image.fromarray(noise(40 + number % 7, 50 - number % 5, 3)).save(path)


def write_lists(top: Path) -> None:
    """TLLib's lists beside Office-31's own folders: ``amazon/images/back_pack/frame_0001.jpg 0`` a line."""
    (top / "image_list").mkdir()
    card = load_card("office31")
    for domain in card.domains:
        lines = [f"{domain}/images/{name}/frame_0001.jpg {label}" for label, name in enumerate(card.classes)]
        (top / "image_list" / f"{domain}.txt").write_text("\n".join(lines) + "\n")


def write_domainnet(top: Path) -> None:
    """``clipart_train.txt`` with ``clipart/aircraft_carrier/clipart_001_000001.jpg 0`` a line, and one image each."""
    classes = load_card("domainnet").classes
    for domain in ("clipart", "painting"):
        picture = top / f"{domain}.jpg"
        picture.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(20, 24, 3)).save(picture)
        for number, split in enumerate(("train", "test"), 1):
            names = [f"{domain}/{name}/{domain}_{i:03}_{number:06}.jpg" for i, name in enumerate(classes, 1)]
            (top / f"{domain}_{split}.txt").write_text("".join(f"{name} {i}\n" for i, name in enumerate(names)))
            for name in names:
                (top / name).parent.mkdir(parents=True, exist_ok=True)
                (top / name).hardlink_to(picture)


@pytest.fixture(scope="session")
def filled_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root that has everything."""
    root = tmp_path_factory.mktemp("data")
    write_mnist(root / "digits_five" / "mnist")
    write_mnist(root / "fashion_mnist" / "fashion_mnist")
    write_svhn(root / "digits_five" / "svhn")
    write_usps(root / "digits_five" / "usps")
    write_cifar(root / "cifar10" / "cifar10", 10)
    write_cifar(root / "cifar100" / "cifar100", 100)
    for variant in (10, 100):
        write_cifar(root / f"cifar{variant}_c" / f"cifar{variant}", variant)
        write_cifar_c(root / f"cifar{variant}_c", variant)
    write_folders(root / "office31", "office31", "{domain}/images/{class}/frame_0001.jpg")
    write_lists(root / "office31")
    write_folders(root / "office_home", "office_home", "{domain}/{class}/00001.jpg")
    write_domainnet(root / "domainnet")
    write_folders(root / "visda2017", "visda2017", "{domain}/{class}/src_1_4850_0__170_210_157.png")
    return root


@pytest.fixture(autouse=True)
def data_root(filled_root: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """It is the user's, and nothing is written to the user's own folders."""
    monkeypatch.setenv("UAN_DA_DATA", str(filled_root))
    monkeypatch.setenv("UAN_DA_CACHE", "off")
    return filled_root
