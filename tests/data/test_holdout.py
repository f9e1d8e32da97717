import pytest
import torch

from uan_da.data.holdout import Part, hold_out
from uan_da.data.images import Images
from uan_da.errors import UserError


def images(counts: list[int]) -> Images:
    labels = torch.cat([torch.full((n,), c) for c, n in enumerate(counts)])
    return Images(torch.arange(len(labels)).to(torch.uint8).view(-1, 1, 1, 1), labels)


def values(part: Part) -> list[int]:
    return [int(x) for batch in part.batches(7) for x in batch.pixels.flatten()]


def test_each_class_gives_its_part_and_nothing_is_in_both():
    rest, held = hold_out(images([20, 10, 5]), 0.2, "a")
    assert held.labels.bincount().tolist() == [4, 2, 1]
    assert sorted(values(rest) + values(held)) == list(range(35))
    assert values(held) == sorted(values(held))


def test_the_choice_depends_on_the_domain_alone():
    assert values(hold_out(images([30]), 0.3, "a")[1]) == values(hold_out(images([30]), 0.3, "a")[1])
    assert values(hold_out(images([30]), 0.3, "a")[1]) != values(hold_out(images([30]), 0.3, "b")[1])


def test_a_part_streams_and_forgets_labels_like_its_whole():
    part = Part(images([6]), torch.tensor([5, 2, 4]))
    assert [batch.pixels.flatten().tolist() for batch in part.stream([torch.tensor([2, 0])])] == [[4, 5]]
    assert part.unlabelled().labels.tolist() == [-1, -1, -1]
    assert len(part) == 3


@pytest.mark.parametrize(("counts", "part"), [([2, 2], 0.1), ([1], 0.9)])
def test_an_empty_part_is_refused(counts: list[int], part: float) -> None:
    with pytest.raises(UserError, match=r"selection.holdout .* leaves one part empty"):
        hold_out(images(counts), part, "a")
