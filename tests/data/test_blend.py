from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from uan_da.data.blend import TRAIN_WIDTH, blend, load_photos
from uan_da.data.digits import Digits
from uan_da.errors import UserError


def test_the_recipe() -> None:
    """|photo − digit| per channel, on photographs of one colour, where every crop is known."""
    photos = [np.full((40, 60, 3), (10, 100, 200), dtype=np.uint8)]
    digits = np.array([[[0, 255], [50, 150]]], dtype=np.uint8)
    result = blend(digits, photos, np.random.default_rng(0))
    expected = [[[10, 100, 200], [245, 155, 55]], [[40, 50, 150], [140, 50, 50]]]
    assert result.tolist() == [expected]


def test_train_and_test_crops_come_from_different_parts_of_a_users_photographs(tmp_path: Path) -> None:
    photo = np.zeros((50, 100, 3), dtype=np.uint8)
    photo[:, round(100 * TRAIN_WIDTH) :] = 255
    Image.fromarray(photo).save(tmp_path / "a.png")
    train, test = load_photos(tmp_path, "train"), load_photos(tmp_path, "test")
    assert (train[0].max(), test[0].min()) == (0, 255)
    digits = Digits(photos=tmp_path)
    plain = Digits().load("optdigits_m", "test")
    image = np.asarray(digits.load("optdigits_m", "test")[0][0])
    assert image[0, 0].tolist() == [255, 255, 255]
    assert image.shape == np.asarray(plain[0][0]).shape


def test_photographs_that_do_not_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no photographs"):
        load_photos(tmp_path, "train")
    Image.new("RGB", (20, 20)).save(tmp_path / "small.png")
    with pytest.raises(UserError, match="smaller than a digit"):
        Digits(photos=tmp_path).load("optdigits_m", "train")
