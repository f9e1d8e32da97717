"""What holds for every augmentation: shape, range, one draw per image, the generator."""

import pytest
import torch

from uan_da.data.augment import (
    Affine,
    Blur,
    ColorJitter,
    Compose,
    Crop,
    Cutout,
    Flip,
    Grayscale,
    Invert,
    RandAugment,
    ResizedCrop,
)
from uan_da.data.augment.inputs import as_floats

AUGMENTATIONS = [
    Flip(),
    Invert(),
    Crop(padding=3),
    ResizedCrop(size=11),
    Affine(degrees=20, translate=0.2, scale=(0.7, 1.4), shear=15),
    ColorJitter(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.3),
    Grayscale(p=0.5),
    Blur(p=0.7),
    Cutout(),
    RandAugment(num_ops=3, magnitude=1.0, cutout=0.4),
    Compose((Flip(), Crop(), RandAugment())),
]
every = pytest.mark.parametrize("augmentation", AUGMENTATIONS, ids=lambda a: type(a).__name__)


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@every
@pytest.mark.parametrize("shape", [(16, 3, 12, 12), (16, 1, 9, 20), (1, 3, 20, 9), (0, 3, 8, 8), (5, 3, 1, 1)])
@pytest.mark.parametrize("fill", ["random", "black", "white"])
def test_returns_the_same_kind_of_images(augmentation, shape, fill):
    images = {"random": torch.rand(shape), "black": torch.zeros(shape), "white": torch.ones(shape)}[fill]
    before = images.clone()
    result = augmentation(images, seeded(0))
    height, width = (11, 11) if isinstance(augmentation, ResizedCrop) else shape[2:]
    assert result.shape == (*shape[:2], height, width)
    assert result.dtype == torch.float32
    assert ((result >= 0) & (result <= 1)).all()
    assert torch.equal(images, before)


@every
def test_bytes_stand_for_their_255th_part(augmentation):
    images = torch.randint(256, (16, 3, 12, 12), dtype=torch.uint8)
    before = images.clone()
    expected = augmentation(images.float() / 255, seeded(0))
    assert torch.equal(as_floats(augmentation(images, seeded(0))), expected)
    assert torch.equal(images, before)


@every
def test_each_image_has_its_own_draw(augmentation):
    images = torch.rand(1, 3, 16, 16).expand(32, -1, -1, -1)
    result = augmentation(images, seeded(0))
    assert len(result.unique(dim=0)) > 1


@every
def test_the_generator_decides(augmentation):
    images = torch.rand(32, 3, 16, 16)
    first, again, other = (augmentation(images, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@every
def test_without_a_generator_the_global_one_decides(augmentation):
    images = torch.rand(8, 3, 16, 16)
    torch.manual_seed(5)
    first = augmentation(images, None)
    torch.manual_seed(5)
    assert torch.equal(augmentation(images, None), first)


@every
def test_an_image_does_not_touch_the_others(augmentation):
    images = torch.rand(16, 3, 16, 16)
    changed = images.clone()
    changed[4] = 1
    keep = torch.arange(16) != 4
    first, second = augmentation(images, seeded(0)), augmentation(changed, seeded(0))
    assert torch.equal(first[keep], second[keep])


@every
def test_the_memory_layout_does_not_matter(augmentation):
    images = torch.rand(16, 3, 16, 16)
    expected = augmentation(images, seeded(0))
    result = augmentation(images.contiguous(memory_format=torch.channels_last), seeded(0))
    torch.testing.assert_close(result, expected, atol=1e-6, rtol=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@every
def test_a_cpu_generator_gives_the_same_draws_on_a_gpu(augmentation):
    images = torch.rand(16, 3, 16, 16)
    expected = augmentation(images, seeded(0))
    # Rounding may take a pixel across a threshold (posterize, solarize), but few.
    difference = (augmentation(images.cuda(), seeded(0)).cpu() - expected).abs()
    assert (difference > 2e-3).float().mean() < 0.01
    assert augmentation(images.cuda(), torch.Generator("cuda").manual_seed(0)).is_cuda


@pytest.mark.parametrize("augmentation", AUGMENTATIONS[:-1], ids=lambda a: type(a).__name__)
@pytest.mark.parametrize(
    ("images", "message"),
    [
        (
            torch.zeros(2, 3, 8, 8, dtype=torch.float64),
            r"`images` to be a tensor of torch.uint8 or torch.float32, but got torch.float64",
        ),
        (torch.zeros(3, 8, 8), r"`images` to have the shape .* but got \(3, 8, 8\)"),
        (torch.zeros(2, 4, 8, 8), r"`images` to have the shape .* but got \(2, 4, 8, 8\)"),
        (torch.zeros(2, 3, 0, 8), r"`images` to have the shape .* but got \(2, 3, 0, 8\)"),
        ([[1.0]], r"`images` to be a tensor of torch.uint8 or torch.float32, but got list"),
    ],
)
def test_refuses_what_is_no_batch_of_images(augmentation, images, message):
    with pytest.raises(ValueError, match=message):
        augmentation(images, None)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Flip(p=1.5), r"Expected `p` to be a number in \[0, 1\], but got 1.5"),
        (lambda: Flip(p="half"), r"Expected `p` to be a number in \[0, 1\], but got 'half'"),
        (lambda: Crop(padding=-1), r"Expected `padding` to be an integer of at least 0, but got -1"),
        (lambda: Crop(padding=2.0), r"Expected `padding` to be an integer of at least 0, but got 2.0"),
        (lambda: Crop(padding=True), r"Expected `padding` to be an integer of at least 0, but got True"),
        (lambda: ResizedCrop(size=0), r"Expected `size` to be an integer of at least 1, but got 0"),
        (
            lambda: ResizedCrop(size=8, scale=(0, 1)),
            r"Expected `scale` to be two numbers, 0 < low <= high <= 1",
        ),
        (
            lambda: ResizedCrop(size=8, ratio=(2, 1)),
            r"Expected `ratio` to be two numbers, 0 < low <= high, but",
        ),
        (lambda: Affine(degrees=-3), r"Expected `degrees` to be a number in \[0, 180\], but got -3"),
        (lambda: Affine(scale=0.5), r"Expected `scale` to be two numbers, .* but got 0.5"),
        (lambda: Affine(shear=90), r"Expected `shear` to be a number in \[0, 89\], but got 90"),
        (lambda: ColorJitter(hue=0.6), r"Expected `hue` to be a number in \[0, 0.5\], but got 0.6"),
        (lambda: ColorJitter(contrast=float("nan")), r"`contrast` to be a number of at least 0, but got nan"),
        (lambda: Blur(sigma=(1, float("inf"))), r"Expected `sigma` to be two numbers"),
        (lambda: Cutout(size=2), r"Expected `size` to be a number in \[0, 1\], but got 2"),
        (lambda: RandAugment(num_ops=-1), r"Expected `num_ops` to be an integer of at least 0, but got -1"),
        (lambda: RandAugment(magnitude=10), r"Expected `magnitude` to be a number in \[0, 1\], but got 10"),
    ],
)
def test_refuses_options_out_of_range(build, message):
    with pytest.raises(ValueError, match=message):
        build()
