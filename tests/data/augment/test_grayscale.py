import torch
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment import Grayscale


def test_a_share_p_of_the_images_is_grey():
    images = torch.rand(3000, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    result = Grayscale(p=0.2)(images, torch.Generator().manual_seed(0))
    grey = (result == result[:, :1]).all(dim=(1, 2, 3))
    assert abs(grey.float().mean().item() - 0.2) < 4 * (0.2 * 0.8 / 3000) ** 0.5
    expected = reference.rgb_to_grayscale(images, num_output_channels=3)
    torch.testing.assert_close(result[grey], expected[grey], atol=1e-6, rtol=0)
    assert torch.equal(result[~grey], images[~grey])
