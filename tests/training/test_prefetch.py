import threading
from collections.abc import Sequence

import pytest
import torch

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.training.device import choose_device
from uan_da.training.prefetch import Prefetch
from uan_da.training.training import Training


def batch_of(size: int) -> DomainBatch:
    side = DomainImages({"weak": torch.empty(1, 1, 1, size)}, torch.zeros(1), torch.zeros(1))
    return DomainBatch(side, side)


def free_cores(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    monkeypatch.setattr("uan_da.training.prefetch.cores", lambda: torch.get_num_threads() + count)


def steps_made(prefetch: Prefetch, steps: Sequence[int], size: int = 1) -> list[list[int]]:
    """What is made when each of ``steps`` is taken, of a training that ends after 12."""
    made: list[int] = []

    def make(step: int) -> DomainBatch:
        made.append(step)
        batches[step] = batch_of(size)
        return batches[step]

    found, batches = [], dict[int, DomainBatch]()
    for step in steps:
        before = len(made)
        assert prefetch.take(step, 12, make) is batches[step]
        prefetch.wait()
        found.append(made[before:])
    return found


def test_a_few_batches_are_made_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    free_cores(monkeypatch, 0)
    found = steps_made(Prefetch(8), [*range(9), 3, 4, 12])  # 3: as after a resume; 12: after the end
    few, rest = list(range(8)), [8, 9, 10, 11]
    assert found == [few, *[[]] * 7, rest, [3, 4, 5, 6, 7, 8, 9, 10], [], [12]]
    assert steps_made(Prefetch(8), [0, 1, 2], 5 * 1024**2) == [[0], [1], [2]]  # 40 MiB of 32
    assert steps_made(Prefetch(1), [0, 1, 2]) == [[0], [1], [2]]


def test_a_thread_makes_the_next_few_where_a_core_is_free(monkeypatch: pytest.MonkeyPatch) -> None:
    free_cores(monkeypatch, 1)
    found = steps_made(Prefetch(8), [*range(9), 3, 4])
    assert found == [list(range(12)), *[[]] * 8, [*range(3, 11), 11], []]


def test_the_thread_computes_alone_and_others_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    threads, seen = torch.get_num_threads(), []

    def make(step: int) -> DomainBatch:
        seen.append((torch.get_num_threads(), threading.current_thread() is threading.main_thread()))
        return batch_of(1)

    torch.set_num_threads(2)
    try:
        free_cores(monkeypatch, 1)
        prefetch = Prefetch()
        other = threading.Thread(target=lambda: seen.append((torch.get_num_threads(), False)))
        other.start()
        other.join()
        prefetch.take(0, 2, make)
        assert (seen, torch.get_num_threads()) == ([(2, False), (1, False), (1, False)], 2)
        free_cores(monkeypatch, 0)
        Prefetch().take(0, 1, make)
        assert seen[3:] == [(2, True)]
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("free", [0, 1])
def test_an_error_is_raised_at_its_step(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def make(step: int) -> DomainBatch:
        if step == 2:
            raise UserError("image 7: is missing")
        return batch_of(1)

    free_cores(monkeypatch, free)
    prefetch = Prefetch()
    for step in range(2):
        prefetch.take(step, 9, make)
    for _ in range(2):
        with pytest.raises(UserError, match="image 7"):
            prefetch.take(2, 9, make)


def test_a_training_takes_the_batches_of_its_task() -> None:
    recipe = load_recipe("digits", ["norm=bn", "method=dann", "train.batch={source: 4, target: 4}"])
    training = Training.build(recipe, choose_device("cpu"))
    training.batch(0)
    own, direct = training.batch(1), Training.build(recipe, training.device).task.batch(1, ("weak",))
    assert own.source.weak.equal(direct.source.weak)
    assert own.target.index.equal(direct.target.index)
