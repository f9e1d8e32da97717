"""Images of every mode as the network gets them: the right pixels, or a refusal that says why."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps, TiffImagePlugin

from uan_da.data.adapters.csv_table import CsvTable
from uan_da.data.adapters.folder import Folder
from uan_da.data.adapters.list_file import ListFile
from uan_da.data.image_files import DamagedImage, ImageFiles, open_image
from uan_da.data.images import decode, to_pixels
from uan_da.data.own_images import images_at, target_folder
from uan_da.data.upright import UnusablePixels, upright
from uan_da.recipe.network import Input

CORNERS = np.arange(6, dtype=np.uint8).reshape(2, 3) * 40


def oriented(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


@pytest.mark.parametrize("suffix", ["png", "tif", "webp"])
@pytest.mark.parametrize("orientation", range(10))
def test_photos_are_turned_as_their_exif_says(tmp_path: Path, orientation: int, suffix: str) -> None:
    path = tmp_path / f"x.{suffix}"
    lossless: dict[str, Any] = {"lossless": True} if suffix == "webp" else {}
    Image.fromarray(CORNERS).convert("RGB").save(path, exif=oriented(orientation), **lossless)
    with Image.open(path) as opened:
        expected = np.asarray(ImageOps.exif_transpose(opened))
    found = open_image(path)
    assert np.array_equal(np.asarray(found), expected)
    assert np.array_equal(np.asarray(upright(found)), expected)  # turned once, however often it is asked for
    if orientation == 6:
        assert np.asarray(found)[..., 0].tolist() == np.rot90(CORNERS, -1).tolist()


def test_a_photo_is_upright_whichever_way_it_comes(tmp_path: Path) -> None:
    """Folder, CSV, list, files to predict, a folder to adapt to: a phone's JPEG, light above and dark below."""
    input = Input(size=8, channels=1)
    pixels = np.repeat(np.array([[200], [50]], dtype=np.uint8), 16, axis=0).repeat(32, axis=1)
    (tmp_path / "phone" / "ant").mkdir(parents=True)
    photo = tmp_path / "phone" / "ant" / "1.jpg"
    Image.fromarray(pixels).rotate(90, expand=True).save(photo, exif=oriented(6))
    (tmp_path / "phone.csv").write_text("image,label\nphone/ant/1.jpg,ant\n")
    (tmp_path / "phone_train.txt").write_text("phone/ant/1.jpg 0\n")
    ways = [
        Folder(tmp_path, ["ant"], split="both").load("phone", "train"),
        CsvTable(tmp_path, ["ant"], split_rule="both").load("phone", "train"),
        ListFile(tmp_path, ["ant"]).load("phone", "train"),
        images_at([photo]),
        target_folder(tmp_path / "phone", ["ant"]),
    ]
    for files in ways:
        (found,) = decode(files, input).pixels
        assert found[0, :3].min() > 190
        assert found[0, -3:].max() < 60


def test_a_users_own_pil_image_is_turned_too(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(CORNERS).save(path, exif=oriented(3))
    with Image.open(path) as opened:
        assert to_pixels(opened, Input(size=3, channels=1))[0, 0, 0] == 200


def tiff(path: Path, values: Any, **tags: float) -> Path:
    info = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        number = {"low": 340, "high": 341, "most": 281}[name]
        info.tagtype[number] = 12 if number != 281 else 3
        info[number] = value
    Image.fromarray(values).save(path, tiffinfo=info)
    return path


RAMP = np.array([[0, 1, 2], [3, 4, 5]])


@pytest.mark.parametrize(
    ("values", "tags", "expected"),
    [
        (RAMP.astype(np.uint16) * 10_000, {}, [0, 39, 78, 117, 156, 195]),  # the upper eight bits
        (RAMP.astype(np.uint16), {"most": 5}, [0, 51, 102, 153, 204, 255]),
        (RAMP.astype(np.float32) / 5, {}, [0, 51, 102, 153, 204, 255]),
        (RAMP.astype(np.float32) * 100 - 250, {"low": -250.0, "high": 250.0}, [0, 51, 102, 153, 204, 255]),
        (RAMP.astype(np.int32) * 1000, {"low": 0.0, "high": 5000.0}, [0, 51, 102, 153, 204, 255]),
    ],
)
def test_values_of_more_than_eight_bits_are_scaled(tmp_path: Path, values: Any, tags: Any, expected: Any) -> None:
    found = open_image(tiff(tmp_path / "x.tif", values, **tags))
    assert found.mode == "L"
    assert np.asarray(found).flatten().tolist() == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (RAMP.astype(np.int32), "integers of 32 bits"),
        (RAMP.astype(np.float32), r"floats outside \[0, 1\]"),
        (np.full((2, 2), np.nan, dtype=np.float32), r"floats outside \[0, 1\]"),
    ],
)
def test_values_without_a_known_range_are_refused_by_name(tmp_path: Path, values: Any, message: str) -> None:
    with pytest.raises(DamagedImage, match=rf"x\.tif: {message}.*SMinSampleValue"):
        open_image(tiff(tmp_path / "x.tif", values))
    with pytest.raises(UnusablePixels, match=message):
        to_pixels(Image.fromarray(values), Input(size=2))


def test_sixteen_bits_of_a_png_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(RAMP.astype(np.uint16) * 256 * 50).save(tmp_path / "x.png")
    assert np.asarray(open_image(tmp_path / "x.png")).flatten().tolist() == [0, 50, 100, 150, 200, 250]


def palette_with_alpha() -> Image.Image:
    image = Image.new("P", (1, 1), 1)
    image.putpalette([9, 9, 9, 100, 0, 0])
    image.info["transparency"] = bytes([255, 0])
    return image


def grey_with_key(mode: str) -> Image.Image:
    image = Image.new(mode, (1, 1), 7)
    image.info["transparency"] = 7
    return image


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        (Image.new("RGBA", (1, 1), (10, 20, 30, 0)), (255, 255, 255)),
        (Image.new("RGBA", (1, 1), (10, 20, 30, 255)), (10, 20, 30)),
        (Image.new("RGBA", (1, 1), (0, 0, 0, 51)), (204, 204, 204)),
        (Image.new("LA", (1, 1), (40, 0)), (255, 255, 255)),
        (Image.new("LA", (1, 1), (40, 255)), (40, 40, 40)),
        (palette_with_alpha(), (255, 255, 255)),
        (grey_with_key("L"), (255, 255, 255)),
        (grey_with_key("I;16"), (255, 255, 255)),
        (Image.new("CMYK", (1, 1), (255, 0, 0, 0)), (0, 255, 255)),
        (Image.new("CMYK", (1, 1), (0, 0, 0, 255)), (0, 0, 0)),
        (Image.new("1", (1, 1), 1), (255, 255, 255)),
        (Image.new("YCbCr", (1, 1), (128, 128, 128)), (128, 128, 128)),
        (Image.new("HSV", (1, 1), (0, 255, 255)), (255, 0, 0)),
    ],
)
def test_every_mode_has_its_colours(image: Image.Image, expected: tuple[int, int, int]) -> None:
    assert to_pixels(image, Input(size=1))[:, 0, 0].tolist() == list(expected)


@pytest.mark.parametrize(
    ("kind", "suffix"), [("RGBA", "png"), ("P", "gif"), ("P", "png"), ("LA", "webp"), ("CMYK", "jpg")]
)
def test_transparency_and_inks_in_files(tmp_path: Path, kind: str, suffix: str) -> None:
    image = {
        "RGBA": Image.new("RGBA", (8, 8), (200, 0, 0, 0)),
        "P": palette_with_alpha().resize((8, 8)),
        "LA": Image.new("LA", (8, 8), (0, 0)),
        "CMYK": Image.new("CMYK", (8, 8), (0, 0, 0, 0)),
    }[kind]
    given = {"transparency": 1} if suffix == "gif" else {"transparency": bytes([255, 0])} if kind == "P" else {}
    image.save(tmp_path / f"x.{suffix}", **given)
    assert np.asarray(open_image(tmp_path / f"x.{suffix}")).min() >= 253  # white


def test_a_large_jpeg_is_decoded_to_what_is_needed_and_always_alike(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    smooth = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8)).resize(
        (400, 300), Image.Resampling.BICUBIC
    )
    smooth.save(tmp_path / "x.jpg", quality=95)
    files, input = ImageFiles([tmp_path / "x.jpg"], [0]), Input(size=24)
    assert files.at_size(0, 24)[0].size == (100, 75)
    assert files.at_size(0, 151)[0].size == (400, 300)
    found, whole = decode(files, input).pixels[0], to_pixels(files[0][0], input)
    assert (found.int() - whole.int()).abs().max() <= 3
    assert all((decode(files, input).pixels[0] == found).all() for _ in range(3))


def test_what_cannot_be_read_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("a letter")
    (tmp_path / "script.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")  # which starts a program
    (tmp_path / "link.jpg").symlink_to("nowhere")
    Image.new("L", (30, 30)).save(tmp_path / "large.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    for name, message in {
        "empty": "an empty file", "text": "not an image", "script": "not an image", "link": "a broken link",
        "gone": "no such image",
    }.items():  # fmt: skip
        with pytest.raises(DamagedImage, match=rf"{name}\.jpg: {message}"):
            open_image(tmp_path / f"{name}.jpg")
    with pytest.raises(DamagedImage, match=r"large\.png: too large \(at most 0 million pixels are decoded\): make it"):
        open_image(tmp_path / "large.png")
