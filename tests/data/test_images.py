import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.data.images import decode
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


def test_grey_is_repeated() -> None:
    decoded = decode(examples(Image.new("L", (4, 4), 77)), Input(size=4))  # type: ignore[arg-type]
    assert (decoded.pixels == 77).all()


def test_sixteen_bits_are_scaled_not_cut() -> None:
    image = Image.fromarray(np.full((4, 4), 0x8000, dtype=np.uint16))
    decoded = decode(examples(image), Input(size=4))  # type: ignore[arg-type]
    assert (decoded.pixels == 0x80).all()
