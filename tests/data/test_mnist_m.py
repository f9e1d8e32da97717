import struct
from pathlib import Path

import numpy as np
from PIL import Image

from uan_da.data.blend import MnistM


def test_mnist_m_is_mnist_blended(tmp_path: Path) -> None:
    digits = np.random.default_rng(0).integers(0, 256, (4, 28, 28), dtype=np.uint8)
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (100, 100), (30, 60, 90)).save(tmp_path / "photos" / "one.png")
    (tmp_path / "mnist").mkdir()
    head = struct.pack(">HBBIII", 0, 8, 3, 4, 28, 28)
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(head + digits.tobytes())
    (tmp_path / "mnist" / "train-labels-idx1-ubyte").write_bytes(struct.pack(">HBBI", 0, 8, 1, 4) + bytes([4, 3, 2, 1]))
    found = MnistM(tmp_path, (), photos=tmp_path / "photos").load("mnist", "train")
    expected = np.abs(np.array([30, 60, 90]) - digits[..., None].astype(int))
    assert np.array_equal(found.images, expected)
    assert found.labels.tolist() == [4, 3, 2, 1]
    one, other = (MnistM(tmp_path, (), seed=seed).load("mnist", "train").images for seed in (0, 1))
    assert not np.array_equal(one, other)
