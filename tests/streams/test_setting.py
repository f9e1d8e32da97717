import numpy as np
import pytest

from uan_da.streams.setting import SETTINGS, by_class, segments

LABELS = [np.arange(30) % 5, np.arange(20) % 5]


@pytest.mark.parametrize("setting", SETTINGS)
def test_each_image_comes_once(setting: str) -> None:
    stream = segments(LABELS, setting, 3)  # type: ignore[arg-type]
    seen = sorted((int(d), int(i)) for s in stream for d, i in zip(s.domain, s.index, strict=True))
    assert seen == [(0, i) for i in range(30)] + [(1, i) for i in range(20)]


@pytest.mark.parametrize("setting", SETTINGS)
def test_a_stream_is_a_function_of_the_seed(setting: str) -> None:
    first, again, other = (segments(LABELS, setting, seed) for seed in (0, 0, 1))  # type: ignore[arg-type]
    assert all(np.array_equal(a.index, b.index) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a.index, b.index) for a, b in zip(first, other, strict=True))


def test_domains_follow_one_another_and_only_single_resets() -> None:
    for setting in ("single", "continual", "correlated"):
        stream = segments(LABELS, setting, 0)  # type: ignore[arg-type]
        assert [set(segment.domain) for segment in stream] == [{0}, {1}]
        assert [segment.reset for segment in stream] == [False, setting == "single"]


def test_mixed_is_one_stretch_in_which_domains_alternate() -> None:
    (segment,) = segments(LABELS, "mixed", 0)
    assert not segment.reset
    assert np.abs(np.diff(segment.domain)).sum() > 10


def test_correlated_is_sorted_by_class() -> None:
    for setting in ("correlated", "mixed_correlated"):
        for segment in segments(LABELS, setting, 0):  # type: ignore[arg-type]
            classes = [LABELS[d][i] for d, i in zip(segment.domain, segment.index, strict=True)]
            assert classes == sorted(classes)
    (segment,) = segments(LABELS, "mixed_correlated", 0)
    assert set(segment.domain[:10]) == {0, 1}


def test_a_dirichlet_parameter_decides_how_correlated_classes_are() -> None:
    classes = np.repeat(np.arange(10), 100)

    def repeats(gamma: float) -> float:
        order = by_class(classes, gamma, np.random.default_rng(0))
        assert sorted(order) == list(range(1000))
        return float((np.diff(classes[order]) == 0).mean())

    assert repeats(0.01) > 0.4
    assert repeats(100.0) < 0.2
