from pathlib import Path

import numpy as np
import pytest

from uan_da.data.adapters.cifar_c import CifarC
from uan_da.errors import UserError


@pytest.mark.parametrize("severity", [1, 5])
def test_a_severity_is_a_fifth(tmp_path: Path, severity: int) -> None:
    images = np.random.default_rng(0).integers(0, 256, (15, 32, 32, 3), dtype=np.uint8)
    folder = tmp_path / "CIFAR-10-C"
    folder.mkdir()
    np.save(folder / "fog.npy", images)
    np.save(folder / "labels.npy", np.tile([3, 8, 0], 5).astype(np.uint8))
    for split in ("train", "test"):
        found = CifarC(tmp_path, (), severity=severity).load("fog", split)  # type: ignore[arg-type]
        assert np.array_equal(found.images, images[3 * severity - 3 : 3 * severity])
        assert found.labels.tolist() == [3, 8, 0]


def test_sizes_that_do_not_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "fog.npy", np.zeros((7, 32, 32, 3), dtype=np.uint8))
    np.save(tmp_path / "labels.npy", np.zeros(7))
    with pytest.raises(UserError, match="five severities"):
        CifarC(tmp_path, ()).load("fog", "test")
