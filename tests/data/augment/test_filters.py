import pytest
import torch
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment.filters import gaussian_blur, sharpness


def test_sharpness_equals_torchvision(images):
    factor = torch.tensor([0.0, 0.05, 0.4, 0.95, 1.0, 1.3, 1.9, 3.0])
    expected = [reference.adjust_sharpness(x, f) for x, f in zip(images, factor.tolist(), strict=True)]
    torch.testing.assert_close(sharpness(images, factor), torch.stack(expected), atol=1e-5, rtol=0)


def test_sharpness_leaves_an_image_that_is_all_border():
    images = torch.rand(2, 3, 2, 9)
    assert torch.equal(sharpness(images, torch.zeros(2)), images)


@pytest.mark.parametrize("radius", [1, 4])
def test_gaussian_blur_equals_torchvision(images, radius):
    sigma = torch.tensor([0.1, 0.3, 0.5, 0.8, 1.0, 1.4, 2.0, 3.0])
    expected = [
        reference.gaussian_blur(x, [2 * radius + 1] * 2, [s, s]) for x, s in zip(images, sigma.tolist(), strict=True)
    ]
    torch.testing.assert_close(gaussian_blur(images, sigma, radius), torch.stack(expected), atol=1e-5, rtol=0)
