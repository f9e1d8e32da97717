import pytest

from uan_da.sweeps.slots import FIRST_GUESS, Slots

GIB = 1024**3


def start(slots: Slots, count: int) -> list[str | None]:
    """Start as many as may; where they went, None for those that have to wait."""
    found = []
    for _ in range(count):
        device = slots.device()
        if device is not None:
            slots.running[str(len(slots.running))] = device
        found.append(device)
    return found


def test_runs_are_spread_over_the_devices_up_to_the_number_of_jobs():
    assert start(Slots(["cuda:0", "cuda:1"], 2, {"host": 64 * GIB}), 3) == ["cuda:0", "cuda:1", None]


def test_the_second_run_on_a_gpu_waits_for_what_the_first_one_takes():
    slots = Slots(["cuda:0"], 4, {"host": 64 * GIB})
    assert start(slots, 2) == ["cuda:0", None]
    slots.saw({"host": GIB, "cuda:0": 3 * GIB}, {"cuda:0": 8 * GIB})
    assert start(slots, 3) == ["cuda:0", None, None]  # 2 · 3 · 1.2 ≤ 8 < 3 · 3 · 1.2


def test_a_run_always_fits_on_an_empty_device():
    slots = Slots(["cuda:0"], 2, {"host": GIB, "cuda:0": GIB}, largest={"host": 5 * GIB, "cuda:0": 5 * GIB})
    assert start(slots, 2) == ["cuda:0", None]


@pytest.mark.parametrize(("free", "fit"), [(1, 1), (2.5 * FIRST_GUESS / GIB, 2), (64, 4)])
def test_the_hosts_memory_bounds_runs_on_the_cpu(free, fit):
    found = start(Slots(["cpu"], 4, {"host": int(free * GIB)}), 5)
    assert found == ["cpu"] * fit + [None] * (5 - fit)


def test_the_largest_run_counts():
    slots = Slots(["cpu"], 8, {"host": 10 * GIB})
    for peak in (1, 4, 2):
        slots.saw({"host": peak * GIB}, {})
    assert slots.largest == {"host": 4 * GIB}
    assert start(slots, 3) == ["cpu", "cpu", None]
