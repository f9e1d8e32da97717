import pytest
import torch

from uan_da.data import crops as module
from uan_da.data.augment import Augmentation, Crop, Flip
from uan_da.data.crops import Crops
from uan_da.data.images import Images
from uan_da.data.task import build_task
from uan_da.data.views import augmented
from uan_da.recipe import load_recipe
from uan_da.recipe.network import Input
from uan_da.seeding import generator

PADDED, SMALLER, AS_IT_IS = Crop(padding=2), Crop(padding=1, size=5), Crop(padding=0)
COLOURS = {"mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.4)}


def images(count: int, channels: int = 3, height: int = 8, width: int = 8) -> Images:
    random = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, channels, height, width), dtype=torch.uint8, generator=random)
    return Images(pixels.contiguous(memory_format=torch.channels_last), torch.arange(count))


@pytest.mark.parametrize("augmentations", [[], [PADDED], [SMALLER], [AS_IT_IS]], ids=str)
@pytest.mark.parametrize(
    ("input", "shape"),
    [(Input(size=8, **COLOURS), (3, 8, 8)), (Input(size=8, channels=1), (1, 8, 8)), (Input(size=8), (3, 6, 9))],
)
def test_a_look_up_is_the_augmented_batch_to_the_bit(
    augmentations: list[Augmentation], input: Input, shape: tuple[int, int, int]
) -> None:
    sets, chosen = [images(7, *shape), images(5, *shape)], torch.tensor([6, 0, 6, 11, 7, 3])
    crops = Crops.of(sets, augmentations, input)
    assert crops is not None
    pixels = torch.cat([part.pixels for part in sets])[chosen]
    found, random = crops.look_up(chosen, generator(0, "a")), generator(0, "a")
    expected = augmented(pixels, augmentations, input, random)
    assert torch.equal(found, expected)
    assert found.stride() == expected.stride()
    again = generator(0, "a")
    crops.look_up(chosen, again)
    assert torch.equal(again.get_state(), random.get_state())  # the view after it draws the same


def test_what_needs_more_than_a_crop_is_not_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    sets, input = [images(4)], Input(size=8)
    assert Crops.of(sets, [Flip()], input) is None
    assert Crops.of(sets, [PADDED, Flip()], input) is None
    assert Crops.of(sets, [PADDED], Input(size=8, crop=6)) is None
    assert Crops.of([*sets, object()], [PADDED], input) is None  # type: ignore[list-item]
    monkeypatch.setattr(module, "MEMORY", 4 * 4 * 3 * 12 * 12 - 1)
    assert Crops.of(sets, [PADDED], input) is None
    assert Crops.of(sets, [], input) is not None


@pytest.mark.parametrize("method", ["dann", "adamatch"])  # the second reads strong views, too
def test_a_task_gives_the_same_batches_either_way(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("digits", [f"method={method}"])
    looked_up, made = (build_task(recipe, torch.device("cpu")) for _ in range(2))
    views = recipe.method.target.views
    assert set(looked_up._crops) == {"weak"}
    monkeypatch.setattr(module, "MEMORY", 0)
    assert not made._crops
    for step, with_target, labels in ((0, True, False), (9, True, True), (17, False, False)):
        one, other = (
            task.batch(step, views, with_target=with_target, target_labels=labels) for task in (looked_up, made)
        )
        for side in ("source", "target"):
            a, b = getattr(one, side), getattr(other, side)
            assert torch.equal(a.labels, b.labels)
            assert torch.equal(a.domain, b.domain)
            assert torch.equal(a.index, b.index)
            assert a.views.keys() == b.views.keys()
            assert all(torch.equal(a.views[view], b.views[view]) for view in a.views)
