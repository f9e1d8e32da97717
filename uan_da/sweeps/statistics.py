"""Numbers over seeds: means, and differences that are paired, with an interval and a test."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

import numpy as np
from scipy import stats

CONFIDENCE = 0.95
EQUAL = 1e-12
"""Differences whose standard deviation is below this are the same but for rounding; a mean below it is 0."""


@dataclass(frozen=True)
class Summary:
    """Mean and sample standard deviation (n − 1) of ``n`` numbers; one number has no deviation."""

    mean: float
    std: float | None
    n: int


@dataclass(frozen=True)
class Difference:
    """A mean of ``n`` paired differences d, and whether it can be told from 0.

    ``interval``: mean ± t₀.₉₇₅(n − 1) · s/√n, Student's 95 % interval; ``p``: two-sided, of t = mean/(s/√n);
    ``corrected``: p after Holm's step-down over the comparisons that were made together. None where n is 1 or all
    differences are equal: then there is no deviation to hold the mean against.
    """

    mean: float
    n: int
    interval: tuple[float, float] | None = None
    p: float | None = None
    corrected: float | None = None

    @property
    def clear(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def summarize(values: Sequence[float]) -> Summary | None:
    """None of no number."""
    if not values:
        return None
    return Summary(fmean(values), stdev(values) if len(values) > 1 else None, len(values))


def paired_difference(ours: Sequence[float], others: Sequence[float]) -> Difference | None:
    """Of ``ours[i] − others[i]``: the two of a pair share their seed. None of no pair."""
    differences = np.subtract(ours, others, dtype=np.float64)
    n = len(differences)
    if n == 0:
        return None
    mean = float(differences.mean())
    mean = mean if abs(mean) > EQUAL else 0.0
    deviation = float(differences.std(ddof=1)) if n > 1 else 0.0
    if deviation < EQUAL:
        return Difference(mean, n)
    error = deviation / n**0.5
    reach = float(stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * error
    p = 2 * float(stats.t.sf(abs(mean) / error, n - 1))
    return Difference(mean, n, (mean - reach, mean + reach), p)


def holm(values: Sequence[float | None]) -> list[float | None]:
    """p-values corrected for their number by Holm's step-down (Scandinavian Journal of Statistics, 1979).

    The i-th smallest of m becomes max over j ≤ i of min(1, (m − j + 1) · p_j): the chance of any false finding among
    all m stays below the level. None means no test, and does not count.
    """
    order = sorted((i for i, p in enumerate(values) if p is not None), key=lambda i: values[i] or 0.0)
    corrected: list[float | None] = [None] * len(values)
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, (len(order) - rank) * (values[i] or 0.0)))
        corrected[i] = worst
    return corrected
