import pytest
import torch

from uan_da.data.order import ClassBalanced, Shuffled


@pytest.mark.parametrize("order", [Shuffled(7, 0, "a"), ClassBalanced(torch.tensor([0, 0, 0, 1, 2, 2, 0]), 0, "a")])
def test_any_stretch_is_part_of_one_stream(order) -> None:
    whole = order.indices(0, 60)
    for start, count in ((0, 1), (3, 9), (13, 8), (59, 1), (20, 40)):
        assert torch.equal(order.indices(start, count), whole[start : start + count])


def test_balanced_classes_are_equally_frequent_and_use_all_images() -> None:
    labels = torch.tensor([0] * 30 + [1] * 5 + [4] * 2 + [-1] * 10)
    order = ClassBalanced(labels, 0, "a")
    stream = order.indices(0, 90)
    assert torch.bincount(labels[stream], minlength=5).tolist() == [30, 30, 0, 0, 30]
    assert sorted(stream[labels[stream] == 0].tolist()) == list(range(30))  # one pass over the class
    fives = stream[labels[stream] == 1]
    assert [sorted(fives[5 * i : 5 * i + 5].tolist()) for i in range(6)] == [list(range(30, 35))] * 6
    rounds = labels[stream].view(30, 3)
    assert (rounds.sort(dim=1).values == torch.tensor([0, 1, 4])).all()
    assert len(rounds.unique(dim=0)) > 3  # the classes of a round are shuffled


def test_the_seed_and_the_names_decide() -> None:
    labels = torch.arange(40) % 4
    for make in (lambda *a: Shuffled(40, *a), lambda *a: ClassBalanced(labels, *a)):
        one, again, seed, name = (make(*a).indices(0, 40) for a in ((0, "a"), (0, "a"), (1, "a"), (0, "b")))
        assert torch.equal(one, again)
        assert not torch.equal(one, seed)
        assert not torch.equal(one, name)
