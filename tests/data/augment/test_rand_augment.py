import math

import pytest
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as reference

from uan_da.data.augment import RandAugment
from uan_da.data.augment.rand_augment import GEOMETRIC, OPERATIONS, apply_operations_


def affine(image, angle=0.0, translate=(0.0, 0.0), shear=(0.0, 0.0)):
    return reference.affine(image, angle, list(translate), 1.0, list(shear), interpolation=InterpolationMode.NEAREST)


def on_uint8(operation, image, *parameters):
    return operation((image * 255).round().to(torch.uint8), *parameters).float() / 255


def expected(name, image, level, sign):
    """FixMatch's table of operations (arXiv:2001.07685, appendix), written down with torchvision's."""
    height, width = image.shape[1:]
    factor = 0.95 - 0.9 * level
    slope = math.degrees(math.atan(0.3 * level * sign))
    return {
        "AutoContrast": lambda: reference.autocontrast(image),
        "Brightness": lambda: reference.adjust_brightness(image, factor),
        "Color": lambda: reference.adjust_saturation(image, factor),
        "Contrast": lambda: reference.adjust_contrast(image, factor),
        "Equalize": lambda: on_uint8(reference.equalize, image),
        "Identity": lambda: image,
        "Posterize": lambda: on_uint8(reference.posterize, image, 8 - min(4, int(5 * level))),
        "Sharpness": lambda: reference.adjust_sharpness(image, factor),
        "Solarize": lambda: image if level == 0 else reference.solarize(image, 256 / 255 * (1 - level)),
        "Rotate": lambda: affine(image, angle=30 * level * sign),
        "ShearX": lambda: affine(image, shear=(slope, 0.0)),
        "ShearY": lambda: affine(image, shear=(0.0, slope)),
        "TranslateX": lambda: affine(image, translate=(0.3 * width * level * sign, 0.0)),
        "TranslateY": lambda: affine(image, translate=(0.0, 0.3 * height * level * sign)),
    }[name]()


@pytest.mark.parametrize("level", [0.0, 0.13, 0.5, 1.0])
def test_operations_mixed_in_a_batch_equal_torchvision(images, level):
    # Every operation on every image, shuffled.
    count = len(images) * len(OPERATIONS)
    mixed = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    batch, operation = images[mixed // len(OPERATIONS)], mixed % len(OPERATIONS)
    sign = torch.arange(count) % 2 * 2 - 1
    result = apply_operations_(batch.clone(), operation, torch.full((count,), level), sign)
    for i in range(count):
        name = OPERATIONS[operation[i]]
        wanted = expected(name, batch[i], level, sign[i].item())
        differs = (result[i] - wanted).abs() > 2e-4
        # A place halfway between two pixels may be rounded to either.
        assert differs.float().mean() <= (0.01 if name in GEOMETRIC else 0.0), name


def test_the_list_is_fixmatchs():
    colour = [
        "AutoContrast",
        "Brightness",
        "Color",
        "Contrast",
        "Equalize",
        "Posterize",
        "Sharpness",
        "Solarize",
    ]
    geometric = ["Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"]
    assert sorted(OPERATIONS) == sorted(["Identity", *colour, *geometric])


def test_operations_are_uniform_and_levels_up_to_the_magnitude():
    # Here brightness is the only operation that scales both grey values alike: it shows its level.
    image = torch.tensor([0.25, 0.5]).view(1, 1, 1, 2).repeat(1, 3, 2, 1)
    result = RandAugment(num_ops=1, magnitude=0.4)(image.expand(14000, -1, -1, -1), torch.Generator().manual_seed(0))
    ratio = result / image
    scaled = (ratio.amax((1, 2, 3)) - ratio.amin((1, 2, 3)) < 1e-5) & (ratio[:, 0, 0, 0] < 0.9501)
    assert abs(scaled.sum().item() - 1000) < 4 * math.sqrt(14000 / 14)
    level = (0.95 - ratio[scaled][:, 0, 0, 0]) / 0.9
    assert -1e-5 <= level.min() < 0.01
    assert 0.39 < level.max() < 0.4001
    assert abs(level.mean() - 0.2) < 4 * 0.4 / math.sqrt(12 * 1000)


def test_each_image_draws_its_own_operations():
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    result = RandAugment(num_ops=2, magnitude=1.0)(image.expand(200, -1, -1, -1), torch.Generator().manual_seed(0))
    assert len(result.unique(dim=0)) > 150


def test_geometric_operations_go_either_way():
    images = torch.zeros(1000, 1, 21, 21)
    images[:, :, 10, 10] = 1
    moved = RandAugment(num_ops=1, magnitude=1.0)(images, torch.Generator().manual_seed(0))[:, 0]
    for shift in (
        (moved.sum(1) * torch.arange(-10, 11)).sum(1),
        (moved.sum(2) * torch.arange(-10, 11)).sum(1),
    ):
        assert shift.min() < -5.5
        assert shift.max() > 5.5


def test_no_operations_and_no_cutout_change_nothing():
    images = torch.rand(4, 3, 8, 8)
    assert torch.equal(RandAugment(num_ops=0)(images, None), images)


def test_the_cutout_comes_last_and_is_grey():
    images = torch.zeros(100, 3, 16, 16)
    result = RandAugment(num_ops=0, cutout=0.5)(images, torch.Generator().manual_seed(0))
    assert set(result.unique().tolist()) == {0.0, 0.5}
    assert (result == 0.5).any(dim=(1, 2, 3)).all()
