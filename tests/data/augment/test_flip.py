import torch

from uan_da.data.augment import Flip


def test_a_share_p_of_the_images_is_flipped():
    images = torch.tensor([0.0, 1.0]).view(1, 1, 1, 2).expand(4000, -1, -1, -1)
    for p in (0.0, 0.3, 1.0):
        flipped = Flip(p=p)(images, torch.Generator().manual_seed(0))[:, 0, 0, 0]
        assert abs(flipped.mean().item() - p) <= 4 * (p * (1 - p) / 4000) ** 0.5
