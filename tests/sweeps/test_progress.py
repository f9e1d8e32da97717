import pytest

from uan_da.sweeps.jobs import Event
from uan_da.sweeps.progress import Progress

KINDS = {"a": "dann", "b": "dann", "c": "mcd", "d": "mcd"}


def test_counts():
    progress = Progress(KINDS, already=3)
    for now, event in enumerate([Event("started", "a", 0, 10), Event("started", "b", 0, 10), Event("finished", "a")]):
        progress.see(event, now)
    progress.see(Event("failed", "b"), 5.0)
    progress.see(Event("started", "c", 0, 10), 6.0)
    assert (progress.done, len(progress.running), len(progress.failed), progress.left) == (4, 1, 1, 1)


@pytest.mark.parametrize("end", ["finished", "failed"])
def test_word_of_a_run_that_comes_after_its_end_counts_for_nothing(end):
    progress = Progress({"a": "dann"})
    for now, kind in enumerate(["started", end, "started", "step"]):
        progress.see(Event(kind, "a", 0, 10), now)  # type: ignore[arg-type]
    assert (progress.done + len(progress.failed), len(progress.running), progress.left) == (1, 0, 0)


def test_nothing_is_estimated_before_a_step():
    progress = Progress(KINDS)
    progress.see(Event("started", "a", 0, 10), 0.0)
    assert progress.seconds_left(5.0) is None
    assert Progress({}).seconds_left(0.0) is None


def test_the_first_run_under_way_tells():
    progress = Progress(KINDS)
    progress.see(Event("started", "a", 0, 10), 0.0)
    progress.see(Event("step", "a", 5, 10), 20.0)
    assert progress.seconds_left(20.0) == pytest.approx(20 + 3 * 40)


def test_runs_of_a_kind_take_the_same_time_and_two_at_once_half_of_it():
    progress = Progress(KINDS)
    for event, now in [
        (Event("started", "a", 0, 10), 0.0),
        (Event("started", "c", 0, 10), 0.0),
        (Event("finished", "a"), 10.0),
        (Event("started", "b", 0, 10), 10.0),
        (Event("finished", "c"), 30.0),
        (Event("started", "d", 0, 10), 30.0),
        (Event("step", "b", 5, 10), 30.0),
    ]:
        progress.see(event, now)
    assert progress.seconds_left(30.0) == pytest.approx(max((5 + 30) / 2, 30))


def test_a_run_that_went_on_does_not_count_as_a_short_one():
    progress = Progress(KINDS)
    progress.see(Event("started", "a", 8, 10), 0.0)
    progress.see(Event("finished", "a"), 4.0)
    assert progress.finished == {"a": pytest.approx(20.0)}
    progress.see(Event("finished", "b"), 4.0)  # found done
    assert progress.seconds_left(4.0) == pytest.approx(40.0)
