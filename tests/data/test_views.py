import pytest
import torch

from uan_da.data.task import build_task
from uan_da.data.views import standardize
from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.recipe.network import Input

CPU = torch.device("cpu")


def test_the_network_sees_the_centre_of_a_larger_image() -> None:
    images = torch.rand(2, 3, 8, 8)
    input = Input(size=8, crop=4, mean=0.0, std=1.0)
    assert input.side == 4
    torch.testing.assert_close(standardize(images, input), images[:, :, 2:6, 2:6])
    torch.testing.assert_close(standardize(images[:, :, :4, :4], input), images[:, :, :4, :4])
    with pytest.raises(ValueError, match="larger than 'size'"):
        Input(size=8, crop=9)


def test_standardize() -> None:
    images = torch.rand(2, 3, 4, 4)
    input = Input(mean=(0.1, 0.2, 0.3), std=(0.5, 0.6, 0.7))
    expected = torch.stack([(images[:, c] - m) / s for c, (m, s) in enumerate([(0.1, 0.5), (0.2, 0.6), (0.3, 0.7)])], 1)
    torch.testing.assert_close(standardize(images, input), expected)


@pytest.mark.parametrize("values", [(0.1307, 0.3081), ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_bytes_are_standardized_to_the_bit(values: tuple[float, float], memory_format: torch.memory_format) -> None:
    images = torch.arange(2 * 3 * 16 * 8).view(2, 3, 16, 8).to(torch.uint8).contiguous(memory_format=memory_format)
    mean, std = (torch.as_tensor(value).view(-1, 1, 1) for value in values)
    found = standardize(images, Input(size=8, mean=values[0], std=values[1]))
    assert torch.equal(found, ((images / 255 - mean) / std))
    assert found.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["augment.weak=[{name: crop, size: 20}]"],
            r"augment.weak: makes images of 20×20, and .* sees 28×28 \(input.size\)",
        ),
        (["augment.weak=[{name: crop, size: 20}]"], r"give the crop in augment.weak that size, or set input.crop=20"),
        (["augment.weak=[{name: resized_crop, size: 40}]"], r"augment.weak: makes images of 40×40"),
        (["augment.strong=[{name: crop, size: 20}]"], r"augment.strong: makes images of 20×20"),
        (
            ["augment.weak=[{name: crop, size: 60}]"],
            r"augment.weak: on images of input.size=28: Expected `size` to fit",
        ),
        (["input.crop=24", "augment.weak=[{name: crop, size: 20}]"], r"sees 24×24 \(input.crop\)"),
    ],
)
def test_a_view_of_another_side_than_the_networks_is_refused(overrides: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        build_task(load_recipe("digits", overrides), CPU)


@pytest.mark.parametrize(
    "overrides",
    [
        ["input.crop=20", "augment.weak=[{name: crop, padding: 0, size: 20}]", "augment.strong=[{name: flip}]"],
        ["input.crop=20", "augment.weak=[{name: crop, size: 24}]", "augment.strong=[]"],  # its centre
        ["method=source_only", "augment.strong=[{name: crop, size: 20}]"],  # which it does not read
    ],
)
def test_a_view_of_the_networks_side(overrides: list[str]) -> None:
    recipe = load_recipe("digits", overrides)
    task = build_task(recipe, CPU)
    for view in recipe.method.target.views:
        assert task.batch(0, (view,)).source.views[view].shape[2:] == (recipe.input.side, recipe.input.side)
