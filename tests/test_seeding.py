import torch

from uan_da.seeding import fold, generator


def test_seeds_differ_by_every_part_and_stay_the_same() -> None:
    seeds = {fold(0, "order", "a", 1), fold(1, "order", "a", 1), fold(0, "view", "a", 1), fold(0, "order", "a", 2)}
    assert len(seeds) == 4
    assert fold(0, "order", "mnist", 0) == 8469607814740009792  # the same on every machine and Python
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_names_do_not_run_together() -> None:
    assert fold(0, "a", "bc") != fold(0, "ab", "c")
    assert fold(0, 1, 2) != fold(0, 12)


def test_generator() -> None:
    assert torch.equal(torch.rand(3, generator=generator(1, "x")), torch.rand(3, generator=generator(1, "x")))
