"""Each corruption against its published formula, written out pixel by pixel or by another library."""

import colorsys
import math
from io import BytesIO

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage, signal
from sklearn.datasets import load_sample_images

from uan_da.data.corruptions import blur, digital, noise, weather
from uan_da.data.corruptions.blur import motion_blurred
from uan_da.data.corruptions.draws import Draws
from uan_da.data.corruptions.plasma import plasma, power_of_two
from uan_da.data.corruptions.published import EXTRA, FIFTEEN
from uan_da.data.corruptions.spatter import MUD, SPATTER, canny, equalized, spatter
from uan_da.data.corruptions.zoom import clipped_zoom

ALL = {**FIFTEEN, **EXTRA}
SIDE = 24


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    photo = Image.fromarray(load_sample_images().images[1][100:340, 200:440])
    return np.asarray(photo.resize((SIDE, SIDE), Image.Resampling.BOX))


@pytest.fixture(scope="module")
def x(image: np.ndarray) -> np.ndarray:
    return image[None] / 255.0


def draws(*indices: int) -> Draws:
    return Draws.of(indices or (0,), 5, "name")


def random() -> np.random.Generator:
    return draws().generators[0]


@pytest.mark.parametrize("name", ALL)
def test_an_image_is_corrupted_alike_in_any_batch(image: np.ndarray, name: str) -> None:
    batch = np.stack([image, image[::-1], 255 - image])
    together = ALL[name](batch, draws(3, 7, 9), 4)
    assert together.dtype == np.uint8
    assert together.shape == batch.shape
    np.testing.assert_array_equal(ALL[name](batch[1:2], draws(7), 4)[0], together[1])


@pytest.mark.parametrize("name", [*FIFTEEN, "speckle_noise", "gaussian_blur"])
def test_severity_grows(image: np.ndarray, name: str) -> None:
    batch = np.stack([image] * 6)
    if name == "elastic_transform":
        pytest.skip("its severities trade reach for smoothness")
    change = [np.abs(ALL[name](batch, draws(*range(6)), s).astype(int) - image).mean() for s in (1, 3, 5)]
    assert 0 < change[0] < change[2]
    assert change[1] < change[2] * 1.5


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("shape", [(2, 9, 14), (1, 66, 70, 3)])
def test_black_white_and_oblong_images(name: str, shape: tuple[int, ...]) -> None:
    """Grey ones become colour ones; a side above 64 takes the constants of large images."""
    if name == "glass_blur" and shape[1] > 64:
        pytest.skip("pixel by pixel")
    for fill in (0, 255):
        found = ALL[name](np.full(shape, fill, dtype=np.uint8), draws(*range(shape[0])), 5)
        assert found.shape == (*shape[:3], 3)
        if name in ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur", "contrast", "pixelate", "gaussian_blur"):
            np.testing.assert_allclose(found, fill, atol=1)


def test_noise_is_its_formula(x: np.ndarray) -> None:
    shape = x.shape[1:]
    normal = random().normal(0, 1, shape)
    np.testing.assert_allclose(noise.gaussian_noise(x, draws(), 0.3)[0], x[0] + 0.3 * normal)
    np.testing.assert_allclose(noise.speckle_noise(x, draws(), 0.3)[0], x[0] * (1 + 0.3 * normal))
    np.testing.assert_allclose(noise.shot_noise(x, draws(), 12)[0], random().poisson(12 * x[0]) / 12)


def test_impulse_noise_is_salt_and_pepper_in_equal_parts() -> None:
    found = noise.impulse_noise(np.full((1, 200, 200, 3), 0.4), draws(), 0.2)
    shares = [np.mean(found == value) for value in (0.0, 1.0, 0.4)]
    np.testing.assert_allclose(shares, [0.1, 0.1, 0.8], atol=0.005)


def test_gaussian_blur_is_a_convolution_with_a_repeated_border(x: np.ndarray) -> None:
    line = np.exp(-(np.arange(-4, 5) ** 2) / 2)
    kernel = np.outer(line, line) / line.sum() ** 2
    padded = np.pad(x[0], ((4, 4), (4, 4), (0, 0)), mode="edge")
    expected = np.stack([signal.convolve2d(padded[..., c], kernel, "valid") for c in range(3)], -1)
    np.testing.assert_allclose(blur.gaussian_blur(x, draws(), 1)[0], expected, atol=1e-12)


@pytest.mark.parametrize(("radius", "alias", "taps"), [(1.5, 0.1, 1), (3, 0.5, 1), (10, 0.5, 2)])
def test_defocus_blur_is_a_convolution_with_an_antialiased_disk(
    x: np.ndarray, radius: float, alias: float, taps: int
) -> None:
    reach = 13
    line = np.arange(-reach, reach + 1)
    disk = np.array([[float(a * a + b * b <= radius * radius) for a in line] for b in line])
    smooth = np.array([math.exp(-(t**2) / (2 * alias**2)) for t in range(-taps, taps + 1)])
    kernel = signal.convolve2d(disk / disk.sum(), np.outer(smooth, smooth) / smooth.sum() ** 2, "same")
    padded = np.pad(x[0], ((reach, reach), (reach, reach), (0, 0)), mode="reflect")
    expected = np.stack([signal.convolve2d(padded[..., c], kernel, "valid") for c in range(3)], -1)
    found = blur.defocus_blur(x, draws(), radius, alias)[0]
    np.testing.assert_allclose(found, expected, atol=0.02 if radius == 10 else 1e-9)  # its kernel meets its own border


def test_glass_blur_takes_each_pixel_from_near_by(x: np.ndarray) -> None:
    sigma, reach, iterations = 0.4, 2, 2
    pixels = np.floor(ndimage.gaussian_filter(x[0], (sigma, sigma, 0), mode="nearest") * 255)
    span = SIDE - 2 * reach
    moves = random().integers(-reach, reach, (iterations, span, span, 2))
    for iteration in range(iterations):
        for i, h in enumerate(range(SIDE - reach, reach, -1)):
            for j, w in enumerate(range(SIDE - reach, reach, -1)):
                dx, dy = moves[iteration, i, j]
                pixels[h, w] = pixels[h + dy, w + dx]
    expected = ndimage.gaussian_filter(pixels / 255, (sigma, sigma, 0), mode="nearest")
    np.testing.assert_allclose(blur.glass_blur(x, draws(), sigma, reach, iterations)[0], expected, atol=1e-12)


@pytest.mark.parametrize("angle", [0.0, 30.0, -90.0])
def test_motion_blur_is_half_a_gaussian_along_a_line(x: np.ndarray, angle: float) -> None:
    weights = [math.exp(-(i**2) / (2 * 2.0**2)) for i in range(2 * 5 + 1)]
    expected = np.zeros_like(x[0])
    for i, weight in enumerate(weights):
        down = math.ceil(i * math.sin(math.radians(angle)) - 0.5)
        right = math.ceil(i * math.cos(math.radians(angle)) - 0.5)
        for row in range(SIDE):
            for column in range(SIDE):
                r, c = min(max(row + down, 0), SIDE - 1), min(max(column + right, 0), SIDE - 1)
                expected[row, column] += weight / sum(weights) * x[0, r, c]
    np.testing.assert_allclose(motion_blurred(x, 5, 2.0, np.array([angle]))[0], expected, atol=1e-12)


@pytest.mark.parametrize("factor", [1.0, 1.13, 2.5, 4.0])
def test_clipped_zoom_is_scipys_zoom(x: np.ndarray, factor: float) -> None:
    crop = math.ceil(SIDE / factor)
    top = (SIDE - crop) // 2
    large = ndimage.zoom(x[0, top : top + crop, top : top + crop], (factor, factor, 1), order=1)
    trim = (len(large) - SIDE) // 2
    expected = large[trim : trim + SIDE, trim : trim + SIDE]
    np.testing.assert_allclose(clipped_zoom(x, factor)[0], expected, atol=1e-12)


def test_zoom_blur_is_a_mean_of_zooms(x: np.ndarray) -> None:
    expected = (2 * x + clipped_zoom(x, 1.1) + clipped_zoom(x, 1.2)) / 4
    np.testing.assert_allclose(blur.zoom_blur(x, draws(), 1.25, 0.1), expected, atol=1e-9)


def test_plasma_is_the_diamond_square_algorithm() -> None:
    size, decay, generator, wibble = 8, 2.0, random(), 100.0
    heights: dict[tuple[int, int], float] = {(0, 0): 0.0}
    step = size
    while step >= 2:
        half, cells = step // 2, range(0, size, step)
        for dy, dx in ((half, half), (0, half), (half, 0)):
            displacement = iter((wibble * generator.uniform(-wibble, wibble, (len(cells),) * 2)).ravel())
            around = [(half, half), (half, -half), (-half, half), (-half, -half)]
            if (dy, dx) != (half, half):
                around = [(half, 0), (-half, 0), (0, half), (0, -half)]
            new = {}
            for row in cells:
                for column in cells:
                    near = [heights[(row + dy + a) % size, (column + dx + b) % size] for a, b in around]
                    new[row + dy, column + dx] = sum(near) / 4 + next(displacement)
            heights |= new
        step, wibble = half, wibble / decay
    expected = np.array([[heights[row, column] for column in range(size)] for row in range(size)])
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    np.testing.assert_allclose(plasma(draws(), size, decay)[0], expected, atol=1e-12)


def test_powers_of_two() -> None:
    assert [power_of_two(side) for side in (2, 3, 28, 32, 33, 224)] == [2, 4, 32, 32, 64, 256]


def test_fog_is_its_formula(x: np.ndarray) -> None:
    mist = plasma(draws(), 32, 1.75)[0, :SIDE, :SIDE, None]
    top = x.max()
    np.testing.assert_allclose(weather.fog(x, draws(), 1.5, 1.75)[0], (x[0] + 1.5 * mist) * top / (top + 1.5))


def test_frost_adds_a_crop_of_ice(x: np.ndarray) -> None:
    ice = weather.ice_picture(256)
    generator = random()
    top, left = generator.integers(0, 256 - SIDE), generator.integers(0, 256 - SIDE)
    expected = 0.75 * x[0] + 0.45 * ice[top : top + SIDE, left : left + SIDE]
    np.testing.assert_allclose(weather.frost(x, draws(), 0.75, 0.45)[0], expected)
    assert 0.3 < ice.mean() < 0.7
    assert ice.std() > 0.1


def test_snow_is_its_formula(x: np.ndarray) -> None:
    generator = random()
    flakes = clipped_zoom(generator.normal(0.3, 0.3, (1, SIDE, SIDE, 1)), 1.25)[0, ..., 0]
    flakes[flakes < 0.65] = 0
    angle = np.array([generator.uniform(-135, -45)])
    flakes = (np.clip(flakes, 0, 1) * 255).astype(np.uint8) / 255
    fallen = motion_blurred(flakes[None, ..., None], 14, 12, angle)
    fallen = (fallen * 255).astype(np.uint8)[0] / 255
    grey = 0.299 * x[0, ..., :1] + 0.587 * x[0, ..., 1:2] + 0.114 * x[0, ..., 2:]
    expected = 0.8 * x[0] + 0.2 * np.maximum(x[0], grey * 1.5 + 0.5) + fallen + np.rot90(fallen, 2)
    np.testing.assert_allclose(weather.SNOW.function(x, draws(), *weather.SNOW.small[4])[0], expected, atol=1e-9)


def test_contrast_brightness_and_saturation_are_their_formulas(x: np.ndarray) -> None:
    bright, vivid = digital.brightness(x, draws(), 0.3)[0], digital.saturate(x, draws(), 2.5, 0.2)[0]
    for row, column in ((0, 0), (5, 17), (20, 3), (11, 11)):
        h, s, v = colorsys.rgb_to_hsv(*x[0, row, column])
        np.testing.assert_allclose(bright[row, column], colorsys.hsv_to_rgb(h, s, min(v + 0.3, 1)), atol=1e-9)
        np.testing.assert_allclose(vivid[row, column], colorsys.hsv_to_rgb(h, min(s * 2.5 + 0.2, 1), v), atol=1e-9)
    mean = np.array([x[0, ..., c].mean() for c in range(3)])
    np.testing.assert_allclose(digital.contrast(x, draws(), 0.15)[0], 0.15 * x[0] + 0.85 * mean)


def test_pixels_are_means_of_boxes(image: np.ndarray) -> None:
    blocks = image.reshape(6, 4, 6, 4, 3).mean(axis=(1, 3))
    expected = np.repeat(np.repeat(blocks, 4, 0), 4, 1)
    np.testing.assert_allclose(digital.pixelate(image[None] / 255.0, draws(), 0.25)[0] * 255, expected, atol=1)


def test_jpeg_is_pillows(image: np.ndarray) -> None:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=40)
    np.testing.assert_array_equal(digital.JPEG_COMPRESSION(image[None], draws(), 5)[0], np.asarray(Image.open(file)))


def test_elastic_transform_without_displacement_is_an_affine_map(x: np.ndarray) -> None:
    move = random().uniform(-0.1 * SIDE, 0.1 * SIDE, (3, 2))
    points = np.array([[12 + 8, 12 + 8], [12 + 8, 12 - 8], [12 - 8, 12 - 8]], dtype=float)
    forward = np.linalg.lstsq(np.column_stack([points, np.ones(3)]), points + move, rcond=None)[0].T  # on (x, y)
    swap = np.array([[0.0, 1.0], [1.0, 0.0]])
    matrix = swap @ np.linalg.inv(forward[:, :2]) @ swap
    offset = -matrix @ swap @ forward[:, 2]
    expected = np.stack(
        [ndimage.affine_transform(x[0, ..., c], matrix, offset, order=1, mode="mirror") for c in range(3)], -1
    )
    np.testing.assert_allclose(digital.elastic_transform(x, draws(), 0.0, 0.0, 0.1)[0], expected, atol=1e-9)


def test_elastic_displacements_are_smooth_noise(x: np.ndarray) -> None:
    generator = random()
    generator.uniform(0, 0, (3, 2))
    dx, dy = generator.uniform(-1, 1, (2, SIDE, SIDE))
    sigma, strength = 0.06 * SIDE, 0.08 * SIDE
    dx, dy = (strength * ndimage.gaussian_filter(d, sigma, mode="reflect", truncate=3) for d in (dx, dy))
    rows, columns = np.meshgrid(np.arange(SIDE), np.arange(SIDE), indexing="ij")
    expected = ndimage.map_coordinates(x[0, ..., 1], [rows + dy, columns + dx], order=1, mode="reflect")
    found = digital.elastic_transform(x, draws(), 0.08, 0.06, 0.0)[0, ..., 1]
    np.testing.assert_allclose(found, expected, atol=1e-9)


def test_mud_is_opaque_and_water_shines(x: np.ndarray) -> None:
    small = SPATTER.small[3]
    layer = ndimage.gaussian_filter(random().normal(small[0], small[1], (SIDE, SIDE)), small[2], mode="nearest")
    cover = ndimage.gaussian_filter(np.where(layer > small[3], 1.0, 0.0), small[4], mode="nearest")
    cover[cover < 0.8] = 0
    expected = x[0] * (1 - cover[..., None]) + cover[..., None] * MUD
    np.testing.assert_allclose(spatter(x, draws(), *small)[0], expected)
    wet = spatter(x, draws(), *SPATTER.small[0])[0] - x[0]
    assert wet.min() >= 0
    np.testing.assert_allclose(wet.max(), 0.5 * 238 / 255)
    np.testing.assert_allclose(wet[..., 0], wet[..., 1] * 175 / 238)


def test_canny_finds_the_outline_of_a_square() -> None:
    picture = np.zeros((20, 20), dtype=np.uint8)
    picture[6:14, 6:14] = 200
    faint = picture // 10
    edges = canny(picture, 50, 150)
    assert edges[6:14, 5:7].any(axis=1).all()
    assert not edges[8:12, 8:12].any()
    assert not edges[:4].any()
    assert edges.sum() < 60
    assert not canny(faint, 50, 150).any()


def test_equalized_spreads_the_values() -> None:
    picture = np.array([[10, 10, 20, 30]], dtype=np.uint8)
    np.testing.assert_array_equal(equalized(picture), [[0, 0, 128, 255]])
    np.testing.assert_array_equal(equalized(np.full((2, 2), 7, dtype=np.uint8)), np.full((2, 2), 7))
