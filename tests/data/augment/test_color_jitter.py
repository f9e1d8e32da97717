import itertools

import torch
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment import ColorJitter


def test_without_options_nothing_changes():
    images = torch.rand(4, 3, 5, 5)
    assert torch.equal(ColorJitter()(images, None), images)


def test_brightness_is_uniform_around_one():
    images = torch.full((4000, 3, 1, 1), 0.5)
    factor = ColorJitter(brightness=0.4)(images, torch.Generator().manual_seed(0))[:, 0, 0, 0] / 0.5
    assert 0.6 <= factor.min() < 0.61
    assert 1.39 < factor.max() <= 1.4001
    assert abs(factor.mean() - 1) < 4 * 0.8 / (12 * 4000) ** 0.5


def test_hue_turns_either_way():
    red = torch.tensor([1.0, 0.0, 0.0]).view(1, 3, 1, 1).expand(4000, -1, -1, -1)
    result = ColorJitter(hue=0.1)(red, torch.Generator().manual_seed(0))
    # A small turn adds green one way and blue the other, six times the share of the circle.
    turn = ((result[:, 1] - result[:, 2]) / 6).flatten()
    assert -0.1001 < turn.min() < -0.099
    assert 0.099 < turn.max() < 0.1001
    assert abs(turn.mean()) < 4 * 0.2 / (12 * 4000) ** 0.5


def test_operations_come_in_every_order():
    # Factors are drawn first; each image must be what one of the six orders makes of its own three.
    image = torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    jitter = ColorJitter(brightness=1.0, contrast=1.0, saturation=1.0)
    generator = torch.Generator().manual_seed(0)
    result = jitter(image.expand(200, -1, -1, -1), generator)
    generator.manual_seed(0)
    factors = [torch.rand(200, generator=generator) * 2 for _ in range(3)]
    operations = (reference.adjust_brightness, reference.adjust_contrast, reference.adjust_saturation)
    seen = set()
    for i in range(200):
        for order in itertools.permutations(range(3)):
            expected = image[0]
            for k in order:
                expected = operations[k](expected, factors[k][i].item())
            if torch.allclose(result[i], expected, atol=1e-5):
                seen.add(order)
                break
        else:
            raise AssertionError(f"image {i} is what no order of the operations gives")
    assert len(seen) == 6
