import itertools

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.data.adapter import Arrays
from uan_da.data.images import Images, decode
from uan_da.recipe.network import Input


def examples(*images: Image.Image) -> list[tuple[Image.Image, int]]:
    return [(image, index) for index, image in enumerate(images)]


def test_colour_stays_as_it_is_at_its_own_size() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 5, 3), dtype=np.uint8)
    decoded = decode(examples(Image.fromarray(pixels)), Input(size=5))  # type: ignore[arg-type]
    assert torch.equal(decoded.pixels[0], torch.from_numpy(pixels).permute(2, 0, 1))
    assert decoded.pixels.dtype == torch.uint8


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1", "I;16", "LA"])
def test_any_mode_becomes_the_channels_that_were_asked_for(mode: str) -> None:
    image = Image.new(mode, (8, 6))
    for channels in (1, 3):
        decoded = decode(examples(image, image), Input(size=4, channels=channels))  # type: ignore[arg-type]
        assert decoded.pixels.shape == (2, channels, 4, 4)


@pytest.mark.parametrize("shape", [(40, 9, 7), (40, 9, 7, 3)])
@pytest.mark.parametrize("input", [Input(size=n, channels=c) for n, c in itertools.product((5, 9, 12), (1, 3))])
def test_arrays_at_once_are_what_their_images_are_one_by_one(shape: tuple[int, ...], input: Input) -> None:
    random = np.random.default_rng(0)
    arrays = Arrays(random.integers(0, 256, shape, dtype=np.uint8), random.integers(0, 3, 40))
    found, expected = decode(arrays, input), decode([arrays[index] for index in range(40)], input)  # type: ignore[arg-type]
    assert torch.equal(found.pixels, expected.pixels)
    assert torch.equal(found.labels, expected.labels)


def test_grey_is_repeated() -> None:
    decoded = decode(examples(Image.new("L", (4, 4), 77)), Input(size=4))  # type: ignore[arg-type]
    assert (decoded.pixels == 77).all()


def test_sixteen_bits_are_scaled_not_cut() -> None:
    image = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    decoded = decode(examples(image), Input(size=4))  # type: ignore[arg-type]
    assert (decoded.pixels == 0x80).all()


def test_images_are_taken_as_they_lie_in_memory() -> None:
    arrays = Arrays(np.random.default_rng(0).integers(0, 256, (9, 7, 7, 3), dtype=np.uint8), np.arange(9))
    images, indices = decode(arrays, Input(size=7)), torch.tensor([5, 0, 5])
    for memory_format in (torch.channels_last, torch.contiguous_format):
        taken = Images(images.pixels.contiguous(memory_format=memory_format), images.labels).take(indices)
        assert torch.equal(taken.pixels, torch.from_numpy(arrays.images[[5, 0, 5]]).permute(0, 3, 1, 2))
        assert taken.labels.tolist() == [5, 0, 5]
        assert taken.pixels.is_contiguous(memory_format=memory_format)
