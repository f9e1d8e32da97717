import math

import numpy as np
import pytest
from scipy import stats

from uan_da.sweeps.statistics import holm, paired_difference, summarize


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_paired_differences_agree_with_scipys_paired_t_test(n):
    random = np.random.default_rng(n)
    ours, others = random.random(n), random.random(n)
    found = paired_difference(list(ours), list(others))
    known = stats.ttest_rel(ours, others)
    low, high = known.confidence_interval(0.95)
    assert found is not None
    assert (found.mean, found.n) == (pytest.approx(np.mean(ours - others)), n)
    assert found.p == pytest.approx(known.pvalue, rel=1e-10)
    assert found.interval == pytest.approx((low, high), rel=1e-10)
    assert found.clear == (known.pvalue < 0.05)


def test_the_interval_is_the_textbooks():
    # d = 1, 2, 3: mean 2, s = 1, t(2) at 0.975 = 4.302652729911275
    found = paired_difference([2.0, 4.0, 6.0], [1.0, 2.0, 3.0])
    assert found is not None
    reach = 4.302652729911275 / math.sqrt(3)
    assert found.interval == pytest.approx((2 - reach, 2 + reach), rel=1e-9)


@pytest.mark.parametrize(("ours", "others"), [([0.5], [0.4]), ([0.5, 0.6], [0.4, 0.5]), ([0.5, 0.5], [0.5, 0.5])])
def test_without_a_spread_there_is_no_interval(ours, others):
    found = paired_difference(ours, others)
    assert found is not None
    assert (found.interval, found.p, found.clear) == (None, None, False)
    assert found.mean == pytest.approx(ours[0] - others[0])


@pytest.mark.parametrize("sign", [-1.0, 1.0])
def test_a_mean_that_is_rounding_is_0(sign):
    # 0.1 + 0.2 − 0.3 = 5.6e-17; with a spread, without one, and of one seed
    rest = 0.1 + 0.2 - 0.3
    for ours in ([rest, 0.1, -0.1], [rest, rest], [rest]):
        found = paired_difference([sign * value for value in ours], [0.0] * len(ours))
        assert found is not None
        assert found.mean == 0.0
    tiny = paired_difference([sign * 1e-9], [0.0])
    assert tiny is not None
    assert tiny.mean == sign * 1e-9


def test_nothing_has_no_difference_and_no_mean():
    assert paired_difference([], []) is None
    assert summarize([]) is None


def test_the_deviation_is_the_samples():
    found = summarize([0.1, 0.2, 0.6])
    assert found is not None
    assert (found.mean, found.std, found.n) == (pytest.approx(0.3), pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1)), 3)
    one = summarize([0.1])
    assert one is not None
    assert one.std is None


def naive_holm(values: list[float]) -> list[float]:
    """Of each p: the largest of (m − rank) · p over all that are not above it."""
    m = len(values)
    ranked = sorted(values)
    return [min(1.0, max((m - j) * q for j, q in enumerate(ranked) if q <= p)) for p in values]


def test_holms_correction():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    values = list(np.random.default_rng(0).random(9) / 5)
    assert holm(values) == pytest.approx(naive_holm(values))


def test_holm_rejects_what_bonferroni_does_and_no_more_than_no_correction():
    values = list(np.random.default_rng(1).random(20) / 10)
    for p, corrected in zip(values, holm(values), strict=True):
        assert corrected is not None
        assert p <= corrected <= min(1.0, 20 * p)


def test_a_comparison_without_a_test_does_not_count():
    assert holm([None, 0.02, None, 0.5]) == [None, pytest.approx(0.04), None, pytest.approx(0.5)]
    assert holm([]) == []
    assert holm([0.6, 0.7]) == [1.0, 1.0]
