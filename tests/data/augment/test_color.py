import pytest
import torch
from torch import Tensor
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment import color

FACTORS = torch.tensor([0.0, 0.05, 0.4, 0.95, 1.0, 1.3, 1.9, 3.0])


def each(function, images: Tensor, *parameters) -> Tensor:
    return torch.stack([function(image, *values) for image, *values in zip(images, *parameters, strict=True)])


def to_uint8(images: Tensor) -> Tensor:
    return (images * 255).round().to(torch.uint8)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (color.brightness, reference.adjust_brightness),
        (color.contrast, reference.adjust_contrast),
        (color.saturation, reference.adjust_saturation),
    ],
)
def test_blend_operations_equal_torchvision(images, ours, theirs):
    expected = each(theirs, images, FACTORS.tolist())
    torch.testing.assert_close(ours(images, FACTORS), expected, atol=1e-5, rtol=0)


def test_hue_equals_torchvision(images):
    shift = torch.tensor([-0.5, -0.3, -0.1, 0.0, 0.07, 0.2, 0.4, 0.5])
    expected = each(reference.adjust_hue, images, shift.tolist())
    torch.testing.assert_close(color.hue(images, shift), expected, atol=1e-5, rtol=0)


def test_hue_turns_red_to_green_in_a_third_of_the_circle():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1)
    torch.testing.assert_close(color.hue(red, torch.tensor([1 / 3])), red.roll(1, dims=1), atol=1e-6, rtol=0)


def test_grayscale_equals_torchvision(images):
    torch.testing.assert_close(color.grayscale(images), reference.rgb_to_grayscale(images), atol=1e-6, rtol=0)


def test_posterize_equals_torchvision_on_uint8(images):
    bits = torch.tensor([0, 1, 2, 4, 5, 6, 7, 8])
    expected = each(reference.posterize, to_uint8(images), bits.tolist()).float() / 255
    torch.testing.assert_close(color.posterize(images, bits), expected, atol=1e-6, rtol=0)


def test_solarize_equals_torchvision_on_uint8(images):
    threshold = torch.tensor([0, 30, 77, 100, 128, 200, 254, 255])
    expected = each(reference.solarize, to_uint8(images), threshold.tolist()).float() / 255
    torch.testing.assert_close(color.solarize(images, threshold / 255), expected, atol=1e-6, rtol=0)


def test_autocontrast_equals_torchvision(images):
    result = color.autocontrast(images)
    torch.testing.assert_close(result, reference.autocontrast(images), atol=1e-6, rtol=0)
    on_uint8 = reference.autocontrast(to_uint8(images)).float() / 255
    torch.testing.assert_close(result, on_uint8, atol=1 / 255, rtol=0)


def test_equalize_equals_torchvision_on_uint8(images):
    expected = each(reference.equalize, to_uint8(images)).float() / 255
    torch.testing.assert_close(color.equalize(images), expected, atol=1e-6, rtol=0)


def test_equalize_spreads_a_low_contrast():
    image = torch.arange(64).remainder(16).view(1, 1, 8, 8).repeat(1, 1, 8, 8) / 255 + 0.4
    result = color.equalize(image)
    assert result.min() == 0
    assert result.max() > 0.99


def test_grey_images_have_no_colour():
    images = torch.rand(2, 1, 5, 5)
    for operation in (color.saturation, color.hue):
        assert torch.equal(operation(images, torch.tensor([0.0, 0.5])), images)


@pytest.mark.parametrize(
    "operation",
    [color.brightness, color.contrast, color.saturation, color.hue, color.posterize, color.solarize],
)
def test_a_parameter_has_one_value_per_image(operation):
    with pytest.raises(ValueError, match=r"one value per image, shape \(4,\), but got \(1,\)"):
        operation(torch.rand(4, 3, 5, 5), torch.ones(1))
