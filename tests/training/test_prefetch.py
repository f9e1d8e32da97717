import threading

import pytest
import torch

from uan_da.data.domain_batch import DomainBatch
from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.training.device import choose_device
from uan_da.training.prefetch import Prefetch
from uan_da.training.training import Training


def test_the_next_batch_is_made_beside_the_step() -> None:
    batches, made = [DomainBatch(None, None) for _ in range(9)], []  # type: ignore[arg-type]

    def make(step: int) -> DomainBatch:
        made.append((step, threading.current_thread() is threading.main_thread()))
        return batches[step]

    prefetch = Prefetch()
    for step in (0, 1, 5, 2):  # two of them not one after the other, as after a resume
        assert prefetch.take(step, make) is batches[step]
    prefetch.wait()
    assert made == [(step, False) for step in (0, 1, 2, 5, 6, 2, 3)]


def test_the_thread_computes_alone_and_others_as_before() -> None:
    threads, seen = torch.get_num_threads(), []

    def make(step: int) -> DomainBatch:
        seen.append(torch.get_num_threads())
        return DomainBatch(None, None)  # type: ignore[arg-type]

    torch.set_num_threads(2)
    try:
        prefetch = Prefetch()
        other = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        other.start()
        other.join()
        prefetch.take(0, make)
        prefetch.wait()
        assert (seen, torch.get_num_threads()) == ([2, 1, 1], 2)
    finally:
        torch.set_num_threads(threads)


def test_an_error_is_raised_at_its_step() -> None:
    def make(step: int) -> DomainBatch:
        if step == 1:
            raise UserError("image 7: is missing")
        return DomainBatch(None, None)  # type: ignore[arg-type]

    prefetch = Prefetch()
    prefetch.take(0, make)
    with pytest.raises(UserError, match="image 7"):
        prefetch.take(1, make)


def test_a_training_takes_the_batches_of_its_task() -> None:
    recipe = load_recipe("digits", ["norm=bn", "method=dann", "train.batch={source: 4, target: 4}"])
    training = Training.build(recipe, choose_device("cpu"))
    training.batch(0)
    own, direct = training.batch(1), Training.build(recipe, training.device).task.batch(1, ("weak",))
    assert own.source.weak.equal(direct.source.weak)
    assert own.target.index.equal(direct.target.index)
