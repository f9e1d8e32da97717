"""The images that source-free methods adapt to."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.images import Images
from uan_da.errors import UserError
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.recipe.network import Input


class Negative:
    """An augmentation that can be seen."""

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        return 1 - images


class Noise:
    """An augmentation that draws."""

    def __call__(self, images: Tensor, generator: torch.Generator | None) -> Tensor:
        return images + torch.rand(images.shape, generator=generator)


def target(count: int, seed: int = 0) -> Target:
    pixels = torch.arange(count, dtype=torch.uint8).view(-1, 1, 1, 1).expand(-1, 3, 2, 2).contiguous()
    images = Images(pixels, torch.full((count,), -1))
    input = Input(size=2, mean=0.0, std=1.0)
    return Target(images, input, 1, [Negative()], seed, torch.device("cpu"))


@pytest.mark.parametrize(("count", "size", "sizes"), [(10, 4, [4, 4, 2]), (9, 4, [4, 4]), (4, 8, [4]), (8, 4, [4, 4])])
def test_batches_are_all_images_but_a_last_one_alone(count: int, size: int, sizes: list[int]) -> None:
    images = target(count)
    batches = list(images.batches(size, epoch=0))
    assert [len(indices) for indices, _ in batches] == sizes
    assert images.number_of_batches(size) == len(sizes)
    indices = torch.cat([indices for indices, _ in batches])
    assert len(indices.unique()) == len(indices)
    for chosen, x in batches:
        torch.testing.assert_close(x[:, 0, 0, 0] * 255, chosen.float())


def test_the_order_is_random_and_a_function_of_seed_and_epoch() -> None:
    orders = [target(50, seed).order(epoch).tolist() for seed, epoch in [(0, 0), (0, 0), (0, 1), (1, 0)]]
    assert orders[0] == orders[1]
    assert len({tuple(order) for order in orders}) == 3
    assert orders[0] != sorted(orders[0])


def test_the_weak_view_is_asked_for() -> None:
    (indices, plain), (again, weak) = (next(target(8).batches(8, 0, augmented=flag)) for flag in (False, True))
    assert torch.equal(indices, again)
    torch.testing.assert_close(weak, 1 - plain)


@pytest.mark.parametrize("has_strong", [False, True])
def test_views_are_one_weak_and_two_strong_ones_or_three_weak_ones(has_strong: bool) -> None:
    images = replace(target(8), strong=[Noise()] if has_strong else [], augmentations=[Negative()])
    (indices, plain), ((again, weak, (one, other)),) = next(images.batches(8, 0)), images.views(8, 0)
    assert torch.equal(indices, again)
    torch.testing.assert_close(weak, 1 - plain)
    assert torch.equal(one, other) is not has_strong
    assert torch.equal(one, weak) is not has_strong


def test_one_image_is_refused() -> None:
    for batches in (target(1).batches(4, 0), target(1).views(4, 0)):
        with pytest.raises(UserError, match="one image is too few"):
            next(batches)


def test_predictions_come_in_order_and_leave_the_mode() -> None:
    model = Classifier(nn.Sequential(nn.Flatten(), nn.Dropout(0.9)), 12, 3)
    features, logits = target(7).predict(model)
    torch.testing.assert_close(features[:, 0] * 255, torch.arange(7.0))
    torch.testing.assert_close(logits, model.head(features).detach())
    assert model.training
    assert all(module.training for module in model.modules())
