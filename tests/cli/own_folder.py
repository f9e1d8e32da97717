"""Writes the folder that a user has: two domains as they come, one without labels.

python tests/cli/own_folder.py FOLDER [IMAGES] [SIDE]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image

CLASSES = ("red mug", "猫", "chair [oak]", ":phone:")
FORMATS = ("jpg", "JPEG", "png", "webp", "bmp", "tif")


def picture(label: int, number: int, side: int, *, warm: bool) -> Image.Image:
    """A pattern for each class, in a light for each domain; wider than high."""
    random = np.random.default_rng([label, number, warm])
    y, x = np.mgrid[0:side, 0 : side + side // 3].astype(np.float64) / side
    phase = random.uniform(0, 0.3, 2)
    value = (
        np.sin(12 * (x + phase[0])),
        np.sin(12 * (y + phase[1])),
        np.sin(9 * (x + y + phase[0])),
        np.sign(np.sin(10 * x)) * np.sign(np.sin(10 * y)),
    )[label]
    tint = np.array([1.0, 0.8, 0.5] if warm else [0.6, 0.8, 1.0])
    pixels = 128 + 90 * value[..., None] * tint + random.normal(0, 12, (*value.shape, 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def save(image: Image.Image, path: Path, number: int) -> None:
    """In a format and mode of the number's; every fifth JPEG lies on its side and says so."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".png" and number % 4 == 2:
        image = image.convert("RGBA")
    elif path.suffix == ".bmp":
        image = image.convert("L")
    exif = Image.Exif()
    if path.suffix.lower() in {".jpg", ".jpeg"} and number % 5 == 0:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[ExifTags.Base.Orientation] = 6
        image.save(path, exif=exif)
        return
    image.save(path)


def write(folder: Path, images: int = 12, side: int = 72) -> Path:
    """``studio``: images and a CSV of labels; ``phone photos``: images alone. ``images`` of each class and domain."""
    rows = []
    for label, name in enumerate(CLASSES):
        for number in range(images):
            file = f"img_{label}_{number}.{FORMATS[number % len(FORMATS)]}"
            save(picture(label, number, side, warm=False), folder / "studio" / file, number)
            rows.append(f"{file};{name}")
            shot = f"IMG {label * images + number:04d}.{FORMATS[(number + 1) % len(FORMATS)]}"
            save(picture(label, number, side + 9, warm=True), folder / "phone photos" / shot, number)
    (folder / "studio" / "labels.csv").write_text("\n".join(["file;label", *rows]) + "\n", encoding="utf-8-sig")
    (folder / "phone photos" / "notes.txt").write_text("taken in May")
    (folder / "phone photos" / "Thumbs.db").write_bytes(b"\0")
    (folder / "phone photos" / ".hidden.jpg").write_bytes(b"")
    return folder


if __name__ == "__main__":
    write(Path(sys.argv[1]), *map(int, sys.argv[2:]))
