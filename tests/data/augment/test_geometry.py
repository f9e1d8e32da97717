import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment import geometry


def matrix(num_images: int, **changes: Tensor) -> Tensor:
    zero, one = torch.zeros(num_images), torch.ones(num_images)
    names = ("angle", "translate_x", "translate_y", "shear_x", "shear_y")
    return geometry.affine_matrix(**{**dict.fromkeys(names, zero), "scale": one, **changes})


def test_affine_equals_torchvision(images):
    generator = torch.Generator().manual_seed(3)
    angle, x, y, scale, shear_x, shear_y = torch.rand(6, len(images), generator=generator) * 2 - 1
    parameters = {
        "angle": angle * 180,
        "translate_x": x * 9,
        "translate_y": y * 9,
        "scale": 1 + 0.5 * scale,
        "shear_x": shear_x * 40,
        "shear_y": shear_y * 40,
    }
    expected = [
        reference.affine(image, a, [tx, ty], s, [sx, sy], interpolation=InterpolationMode.BILINEAR)
        for image, a, tx, ty, s, sx, sy in zip(images, *(v.tolist() for v in parameters.values()), strict=True)
    ]
    result = geometry.affine(images, geometry.affine_matrix(**parameters))
    torch.testing.assert_close(result, torch.stack(expected), atol=1e-4, rtol=0)


def test_the_nearest_pixel_equals_torchvision(images):
    angle, shift = torch.linspace(-170, 170, len(images)), torch.linspace(-6.3, 7.2, len(images))
    expected = [
        reference.affine(image, a, [s, -s], 1.0, [0.0, 0.0], interpolation=InterpolationMode.NEAREST)
        for image, a, s in zip(images, angle.tolist(), shift.tolist(), strict=True)
    ]
    way_back = matrix(len(images), angle=angle, translate_x=shift, translate_y=-shift)
    assert torch.equal(geometry.affine(images, way_back, "nearest"), torch.stack(expected))


def test_a_translation_by_whole_pixels_is_a_shift():
    images = torch.rand(2, 3, 6, 9)
    moved = geometry.affine(
        images, matrix(2, translate_x=torch.tensor([2.0, 0.0]), translate_y=torch.tensor([0.0, -1.0]))
    )
    expected = torch.zeros_like(images)
    expected[0, :, :, 2:] = images[0, :, :, :-2]
    expected[1, :, :-1] = images[1, :, 1:]
    torch.testing.assert_close(moved, expected, atol=1e-5, rtol=0)


def test_a_rotation_by_90_degrees_is_clockwise():
    images = torch.rand(2, 3, 7, 7)
    rotated = geometry.affine(images, matrix(2, angle=torch.tensor([90.0, -90.0])))
    expected = torch.stack((images[0].rot90(-1, (1, 2)), images[1].rot90(1, (1, 2))))
    torch.testing.assert_close(rotated, expected, atol=1e-4, rtol=0)


def test_flip_mirrors_the_chosen_images(images):
    flipped = torch.arange(len(images)) % 3 == 0
    result = geometry.flip(images, flipped)
    for image, chosen, original in zip(result, flipped, images, strict=True):
        assert torch.equal(image, reference.horizontal_flip(original) if chosen else original)


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_crop_equals_torchvision(images, memory_format):
    top, left = torch.arange(8), torch.arange(8).flip(0)
    result = geometry.crop(images.contiguous(memory_format=memory_format), top, left, 9, 12)
    assert result.is_contiguous(memory_format=memory_format)
    for image, y, x, original in zip(result, top.tolist(), left.tolist(), images, strict=True):
        assert torch.equal(image, reference.crop(original, y, x, 9, 12))


@pytest.mark.parametrize("size", [5, 24, 50])
def test_resized_crop_equals_torchvision(images, size):
    height, width = images.shape[2:]
    box = torch.tensor(
        [
            [0, 0, height, width],
            [0, 0, 1, 1],
            [3, 2, 9, 11],
            [height - 1, 0, 1, width],
            [height - 9, width - 5, 9, 5],
            [1, 1, 12, 3],
            [2, 4, 6, 6],
            [0, width - 1, height, 1],
        ]
    )
    expected = [
        reference.resized_crop(image, *b, [size, size], antialias=False)
        for image, b in zip(images, box.tolist(), strict=True)
    ]
    result = geometry.resized_crop(images, box, size)
    torch.testing.assert_close(result, torch.stack(expected), atol=1e-4, rtol=0)


def test_erase_fills_the_square_and_nothing_else():
    images = torch.rand(3, 3, 6, 8)
    result = geometry.erase(images, torch.tensor([1, -2, 4]), torch.tensor([2, -1, 7]), 3, fill=0.5)
    expected = images.clone()
    expected[0, :, 1:4, 2:5] = 0.5
    expected[1, :, 0:1, 0:2] = 0.5
    expected[2, :, 4:6, 7:8] = 0.5
    assert torch.equal(result, expected)
