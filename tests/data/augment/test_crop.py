import pytest
import torch
from torch.nn.functional import pad

from uan_da.data.augment import Crop
from uan_da.data.augment.geometry import crop


def test_every_place_in_the_padded_image_is_drawn():
    image = torch.rand(1, 1, 5, 7)
    result = Crop(padding=2)(image.expand(1000, -1, -1, -1), torch.Generator().manual_seed(0))
    padded = pad(image[0], (2, 2, 2, 2))
    windows = {tuple(padded[0, y : y + 5, x : x + 7].flatten().tolist()) for y in range(5) for x in range(5)}
    assert {tuple(crop.flatten().tolist()) for crop in result} == windows


def test_bytes_stay_bytes_and_lose_nothing():
    images = torch.randint(256, (16, 3, 9, 7), dtype=torch.uint8)
    cropped = Crop(padding=3)(images, torch.Generator().manual_seed(0))
    assert cropped.dtype == torch.uint8
    assert torch.equal(cropped.float(), Crop(padding=3)(images.float(), torch.Generator().manual_seed(0)))


def test_without_padding_nothing_changes():
    images = torch.rand(4, 3, 5, 7)
    assert torch.equal(Crop(padding=0)(images, None), images)


def test_a_smaller_window_is_cut_at_every_place():
    image = torch.rand(1, 3, 6, 7)
    result = Crop(padding=0, size=5)(image.expand(500, -1, -1, -1), torch.Generator().manual_seed(0))
    windows = {tuple(image[0, :, y : y + 5, x : x + 5].flatten().tolist()) for y in range(2) for x in range(3)}
    assert {tuple(crop.flatten().tolist()) for crop in result} == windows


def test_a_window_that_does_not_fit_reads_no_other_image():
    with pytest.raises(ValueError, match="a window of 3×8 pixels does not fit into 5×7"):
        crop(torch.rand(1, 1, 5, 7), torch.tensor([0]), torch.tensor([0]), 3, 8)


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="Expected `size` to fit into 5×7 pixels padded by 1, but got 8"):
        Crop(padding=1, size=8)(torch.rand(1, 1, 5, 7), None)
