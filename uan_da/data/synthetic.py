"""Rendered digits over photographs, with parts of other digits at the sides: street numbers without a download."""

from collections.abc import Sequence
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont
from pydantic import Field

from uan_da.data.adapter import Split
from uan_da.data.blend import load_photos, random_crop

SIZE = 32
"""Side of an image, SVHN's."""
FONTS = (
    "DejaVuSans",
    "DejaVuSans-Bold",
    "DejaVuSansMono",
    "DejaVuSerif",
    "DejaVuSerif-Bold",
    "STIXGeneral",
    "STIXGeneralBol",
)
"""Of those that matplotlib bundles: text fonts with digits."""
Colour = tuple[int, int, int]


class Synthetic:
    """Rendered digits over photographs with distractor digits at the sides, as street numbers have them.

    Image i of a split is a function of (seed, split, i): its digit is i mod 10; font, size, place, rotation, colours,
    background, neighbours and blur are drawn.
    """

    domains = ("synthetic",)
    classes = tuple("0123456789")

    def __init__(
        self,
        *,
        seed: int = 0,
        train: Annotated[int, Field(gt=0)] = 2000,
        test: Annotated[int, Field(gt=0)] = 1000,
        photos: Path | None = None,
    ) -> None:
        """``train`` and ``test`` are numbers of images; ``photos`` a folder of photographs, scikit-learn's without."""
        self.seed, self.sizes, self.photos = seed, {"train": train, "test": test}, photos

    def load(self, domain: str, split: Split) -> "RenderedDigits":
        """Images of 32×32 pixels, drawn when they are asked for."""
        photos = load_photos(self.photos, split)
        return RenderedDigits(self.sizes[split], photos, (self.seed, {"train": 0, "test": 1}[split]))


class RenderedDigits:
    """Examples that are drawn when they are asked for."""

    def __init__(self, size: int, photos: Sequence[np.ndarray], seed: tuple[int, int]) -> None:
        self.photos, self.seed = photos, seed
        self.labels = [index % 10 for index in range(size)]

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Image.Image, int]:
        label = self.labels[index]  # IndexError past the end
        return self._render(label, np.random.default_rng([*self.seed, index])), label

    def _render(self, digit: int, random: np.random.Generator) -> Image.Image:
        background = Image.fromarray(np.ascontiguousarray(random_crop(self.photos, (SIZE, SIZE), random)))
        paint, plate = _contrasting(random)
        image = Image.blend(background, Image.new("RGB", background.size, plate), float(random.uniform(0.3, 0.9)))
        font = _font(FONTS[random.integers(len(FONTS))], int(random.integers(22, 31)))
        left, _, right, _ = font.getbbox(str(digit))
        gap = (right - left) * random.uniform(1.0, 1.3)
        centre, angle = SIZE / 2 + random.uniform(-2, 2, size=2), float(random.uniform(-12, 12))
        image = _draw(image, str(digit), font, paint, centre, angle)
        for side in (-1, 1):
            if random.random() < 0.7:
                offset = np.array([side * gap + random.uniform(-1, 1), random.uniform(-1.5, 1.5)])
                image = _draw(image, str(random.integers(10)), font, paint, centre + offset, angle)
        image = image.filter(ImageFilter.GaussianBlur(float(random.uniform(0, 0.9))))
        noisy = np.asarray(image) + random.normal(0, random.uniform(0, 8), size=(SIZE, SIZE, 3))
        return Image.fromarray(noisy.round().clip(0, 255).astype(np.uint8))


def _contrasting(random: np.random.Generator) -> tuple[Colour, Colour]:
    """Two colours whose luminances differ by at least 60 of 255."""
    while True:
        first, second = random.integers(0, 256, size=(2, 3))
        if abs((first - second) @ np.array([0.299, 0.587, 0.114])) >= 60:
            red, green, blue = map(int, first)
            return (red, green, blue), (int(second[0]), int(second[1]), int(second[2]))


def _draw(
    image: Image.Image, text: str, font: ImageFont.FreeTypeFont, paint: Colour, centre: np.ndarray, angle: float
) -> Image.Image:
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).text((float(centre[0]), float(centre[1])), text, fill=255, font=font, anchor="mm")
    mask = mask.rotate(angle, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", image.size, paint), image, mask)


@lru_cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    file = files("matplotlib") / "mpl-data" / "fonts" / "ttf" / f"{name}.ttf"
    return ImageFont.truetype(str(file), size)
