import torch
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment import Blur


def test_a_share_p_of_the_images_is_blurred():
    images = torch.rand(1000, 1, 5, 5, generator=torch.Generator().manual_seed(1))
    result = Blur(p=0.3)(images, torch.Generator().manual_seed(0))
    changed = (result != images).any(dim=(1, 2, 3))
    assert abs(changed.float().mean().item() - 0.3) < 4 * (0.3 * 0.7 / 1000) ** 0.5


def test_the_standard_deviation_is_in_pixels():
    images = torch.rand(4, 3, 20, 30)
    expected = reference.gaussian_blur(images, [9, 9], [1.2, 1.2])
    torch.testing.assert_close(Blur(sigma=(1.2, 1.2), p=1.0)(images, None), expected, atol=1e-5, rtol=0)
