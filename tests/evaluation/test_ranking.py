import numpy as np
import pytest

from uan_da.evaluation.ranking import Scored, rank_correlation, rank_validators


def test_correlation_is_pearsons_of_ranks():
    random = np.random.default_rng(0)
    x, y = random.random(20), random.random(20)
    ranks = [np.argsort(np.argsort(v)) for v in (x, y)]
    assert rank_correlation(list(x), list(y)) == pytest.approx(np.corrcoef(*ranks)[0, 1])


def test_correlation_is_none_where_there_is_nothing_to_rank():
    assert rank_correlation([1.0], [0.5]) is None
    assert rank_correlation([1.0, 1.0], [0.5, 0.6]) is None


def test_validators_are_ranked_by_correlation_and_judged_by_what_they_select():
    course = [(0.1, 3.0, 0.5), (0.2, 2.0, 0.7), (0.3, 1.0, 0.6)]
    task = [Scored({"good": a, "bad": b, "flat": 1.0, "none": None}, accuracy) for a, b, accuracy in course]
    ranks = {rank.validator: rank for rank in rank_validators({"a:b": task})}
    assert list(ranks) == ["good", "bad", "flat"]
    assert ranks["good"].correlation == pytest.approx(0.5)
    assert ranks["bad"].correlation == pytest.approx(-0.5)
    assert ranks["flat"].correlation is None
    assert (ranks["good"].accuracy, ranks["good"].regret) == (0.6, pytest.approx(0.1))
    assert (ranks["flat"].accuracy, ranks["bad"].accuracy) == (0.5, 0.5)  # the first of equals


def test_tasks_are_ranked_each_for_itself():
    easy = [Scored({"v": s}, a) for s, a in ((1.0, 0.8), (2.0, 0.9))]
    hard = [Scored({"v": s}, a) for s, a in ((10.0, 0.1), (20.0, 0.2))]
    (rank,) = rank_validators({"easy": easy, "hard": hard})
    assert rank.correlation == pytest.approx(1.0)  # pooled, it would be negative for the scales differ
    assert (rank.accuracy, rank.regret, rank.checkpoints) == (pytest.approx(0.55), 0.0, 4)


def test_nothing_to_rank():
    assert rank_validators({}) == []
    assert rank_validators({"a:b": []}) == []
