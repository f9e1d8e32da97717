import pytest
import torch
from torchvision.transforms.v2 import functional as F

from uan_da.data.resize import centre, fit, resize
from uan_da.recipe.network import Input


def images(*shape: int, dtype: torch.dtype) -> torch.Tensor:
    values = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    return values if dtype == torch.uint8 else values / 255


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32])
@pytest.mark.parametrize("shape", [(3, 40, 30), (1, 8, 8), (2, 3, 17, 64), (3, 1, 1), (3, 224, 224)])
@pytest.mark.parametrize("size", [(32, 32), (7, 50)])
def test_as_torchvision(dtype: torch.dtype, shape: tuple[int, ...], size: tuple[int, int]) -> None:
    given = images(*shape, dtype=dtype)
    for x in (given, given.movedim(-3, -1).contiguous().movedim(-1, -3)):  # and as Pillow's pixels lie
        assert torch.equal(resize(x, *size), F.resize(x.contiguous(), list(size), antialias=True))


@pytest.mark.parametrize("shape", [(3, 9, 12), (2, 3, 8, 8), (1, 5, 20), (1, 4, 3)])
@pytest.mark.parametrize("side", [1, 4, 5, 8])
def test_the_centre_as_torchvision(shape: tuple[int, ...], side: int) -> None:
    x = images(*shape, dtype=torch.uint8)
    assert torch.equal(centre(x, side), F.center_crop(x, [side, side]))


@pytest.mark.parametrize("shape", [(3, 40, 30), (2, 3, 17, 64), (1, 8, 8), (3, 5, 400)])
def test_the_short_side_as_torchvision(shape: tuple[int, ...]) -> None:
    x = images(*shape, dtype=torch.uint8)
    expected = F.center_crop(F.resize(x, [24], antialias=True), [24, 24])
    assert torch.equal(fit(x, Input(size=24, resize="short")), expected)
    assert torch.equal(fit(x, Input(size=24)), F.resize(x, [24, 24], antialias=True))


def test_one_pixel_is_the_mean() -> None:
    x = images(3, 40, 30, dtype=torch.uint8)
    assert (resize(x, 1, 1).flatten() - x.float().mean((1, 2))).abs().max() < 25  # a triangle's weights, not a box's
