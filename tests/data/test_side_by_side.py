from threading import get_ident

import pytest
import torch

from uan_da.data.side_by_side import side_by_side


@pytest.fixture
def threads(request: pytest.FixtureRequest):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("threads", [1, 2, 3], indirect=True)
def test_results_keep_their_order(threads: int) -> None:
    assert side_by_side(lambda item: item * 2, range(20)) == list(range(0, 40, 2))
    assert side_by_side(str, []) == []


@pytest.mark.parametrize(("threads", "share"), [(2, 1), (5, 2)], indirect=["threads"])
def test_workers_share_the_threads_and_the_caller_keeps_its_own(threads: int, share: int) -> None:
    assert side_by_side(lambda _: torch.get_num_threads(), range(2)) == [share, share]
    assert torch.get_num_threads() == threads


@pytest.mark.parametrize("threads", [1], indirect=True)
def test_one_thread_is_the_callers(threads: int) -> None:
    assert side_by_side(lambda _: get_ident(), range(2)) == [get_ident()] * 2


@pytest.mark.parametrize("threads", [2], indirect=True)
def test_a_mistake_reaches_the_caller(threads: int) -> None:
    def fail(item: int) -> int:
        raise ValueError(f"{item} is no domain")

    with pytest.raises(ValueError, match="0 is no domain"):
        side_by_side(fail, range(2))
