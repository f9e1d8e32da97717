import copy

import pytest
import torch
from torch import Tensor, nn

from uan_da.norms import convert_norm, domain_context
from uan_da.norms.domain import DomainNorm


class Tag(DomainNorm):
    """Adds 100 times the branch to its input, so that the output shows who went where."""

    def __init__(self, branches: int = 2, num_domains: int = 2) -> None:
        super().__init__([nn.Identity() for _ in range(branches)], num_domains)

    def forward(self, x: Tensor) -> Tensor:
        route = self.routed()
        return route.join([part + 100 * branch for branch, part in route.split(x)])


def tags(layer: nn.Module, index: int | Tensor, n: int) -> list[int]:
    x = torch.arange(float(n))
    with domain_context(layer, index):
        y = layer(x)
    assert torch.equal(y % 100, x)  # every sample is back in its place
    return (y // 100).int().tolist()


@pytest.mark.parametrize(
    ("index", "expected"),
    [
        (torch.tensor([0, 0, 1, 1]), [0, 0, 1, 1]),
        (torch.tensor([1, 0, 1, 0]), [1, 0, 1, 0]),
        (torch.tensor([1, 1, 0, 0], dtype=torch.int32), [1, 1, 0, 0]),
        (torch.tensor([1, 1, 1, 1]), [1, 1, 1, 1]),
        (torch.tensor([7, 0, 2, 1]), [1, 0, 1, 1]),
        (0, [0, 0, 0, 0]),
        (1, [1, 1, 1, 1]),
        (5, [1, 1, 1, 1]),
    ],
    ids=str,
)
def test_samples_go_to_the_branch_of_their_domain_and_unknown_ones_to_the_target(
    index: int | Tensor, expected: list[int]
) -> None:
    assert tags(Tag(), index, 4) == expected


def test_several_sources() -> None:
    assert tags(Tag(3, 3), torch.tensor([2, 0, 1, 3]), 4) == [2, 0, 1, 2]
    assert tags(Tag(2, 3), torch.tensor([2, 0, 1, 3]), 4) == [1, 0, 0, 1]  # one branch for all sources


def test_layers_with_unequal_numbers_of_domains_live_in_one_model() -> None:
    two, three = Tag(2, 2), Tag(3, 3)
    with domain_context(nn.ModuleList([two, three]), torch.tensor([0, 1, 2])):
        assert (two(torch.zeros(3)) / 100).tolist() == [0, 1, 1]
        assert (three(torch.zeros(3)) / 100).tolist() == [0, 1, 2]


def test_an_empty_batch() -> None:
    assert tags(Tag(), torch.zeros(0, dtype=torch.long), 0) == []


def test_contexts_nest_and_leave_nothing_behind() -> None:
    layer = Tag()
    with domain_context(layer, 0):
        with domain_context(layer, 1):
            assert layer(torch.zeros(1)).item() == 100
        assert layer(torch.zeros(1)).item() == 0
        with pytest.raises(RuntimeError), domain_context(layer, 1):
            raise RuntimeError
        assert layer(torch.zeros(1)).item() == 0
    assert layer.route is None


def test_without_a_context_the_error_says_so() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    convert_norm(model, "dsbn")
    with pytest.raises(ValueError, match=r"DomainSpecificNorm needs the domain of each sample.*domain_context"):
        model(torch.zeros(2, 3, 4, 4))


def test_a_model_without_domain_aware_norms_is_left_alone() -> None:
    model = nn.BatchNorm2d(3)
    with domain_context(model, 1):
        model(torch.randn(2, 3, 4, 4))


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (-1, "0 or more, but got -1"),
        ([0, 1], r"an integer or a tensor of integers.*but got \[0, 1\]"),
        (torch.tensor([0, -2]), "0 or more, but got -2"),
        (torch.tensor([0.0, 1.0]), r"integer tensor \(N,\), but got torch.float32"),
        (torch.tensor([True, False]), "but got torch.bool"),
        (torch.tensor(1), "shape \\(\\)"),
    ],
)
def test_bad_index(index: int | Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message), domain_context(Tag(), index):
        pass


def test_an_index_of_another_length() -> None:
    layer = Tag()
    with domain_context(layer, torch.tensor([0, 1])), pytest.raises(ValueError, match="2 samples, but got 3"):
        layer(torch.zeros(3))


def test_fewer_than_two_domains() -> None:
    with pytest.raises(ValueError, match="`num_domains` to be an integer of at least 2, but got 1"):
        convert_norm(nn.Sequential(nn.BatchNorm2d(3)), "dsbn", num_domains=1)


def test_a_model_is_copied_inside_a_context() -> None:
    """As a mean teacher does."""
    layer = Tag()
    with domain_context(layer, torch.tensor([1, 0])):
        twin = copy.deepcopy(layer)
        assert twin(torch.zeros(2)).tolist() == [100, 0]
