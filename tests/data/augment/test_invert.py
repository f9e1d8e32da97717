import torch
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment import Invert


def test_a_share_p_of_the_images_is_inverted():
    images = torch.rand(3000, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    for p in (0.0, 0.3, 1.0):
        result = Invert(p=p)(images, torch.Generator().manual_seed(0))
        inverted = (result != images).any(dim=(1, 2, 3))
        assert abs(inverted.float().mean().item() - p) <= 4 * (p * (1 - p) / 3000) ** 0.5
        torch.testing.assert_close(result[inverted], reference.invert(images[inverted]))
        assert torch.equal(result[~inverted], images[~inverted])
