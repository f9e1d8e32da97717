"""How well each validator tells good checkpoints from bad ones: an evaluation, which reads target labels."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scipy.stats import ConstantInputWarning, spearmanr


@dataclass(frozen=True)
class Scored:
    """A checkpoint: its score by each validator, None where it has none, and its true accuracy on the target."""

    scores: Mapping[str, float | None]
    accuracy: float


@dataclass(frozen=True)
class Rank:
    """One validator over all tasks.

    ``correlation``: mean over the tasks of Spearman's rank correlation with the accuracy (None where a validator is
    constant on each); ``accuracy``: of the checkpoints that it would select, mean over tasks; ``regret``: what the best
    checkpoints of the same tasks have more; ``checkpoints``: how many it scored.
    """

    validator: str
    correlation: float | None
    accuracy: float
    regret: float
    checkpoints: int


def rank_validators(tasks: Mapping[str, Sequence[Scored]]) -> list[Rank]:
    """All validators that scored a checkpoint, the best correlation first; ``tasks`` is task → its checkpoints."""
    names = dict.fromkeys(name for checkpoints in tasks.values() for one in checkpoints for name in one.scores)
    ranks = [rank for name in names if (rank := _rank(name, tasks)) is not None]
    return sorted(ranks, key=lambda rank: float("-inf") if rank.correlation is None else rank.correlation, reverse=True)


def _rank(name: str, tasks: Mapping[str, Sequence[Scored]]) -> Rank | None:
    correlations, chosen, regrets, count = [], [], [], 0
    for checkpoints in tasks.values():
        pairs = [(score, one.accuracy) for one in checkpoints if (score := one.scores.get(name)) is not None]
        if not pairs:
            continue
        count += len(pairs)
        correlation = rank_correlation([score for score, _ in pairs], [accuracy for _, accuracy in pairs])
        correlations += [] if correlation is None else [correlation]
        selected = max(pairs, key=lambda pair: pair[0])[1]  # the first of equals, as in training
        chosen.append(selected)
        regrets.append(max(accuracy for _, accuracy in pairs) - selected)
    if not chosen:
        return None
    mean = sum(correlations) / len(correlations) if correlations else None
    return Rank(name, mean, sum(chosen) / len(chosen), sum(regrets) / len(regrets), count)


def rank_correlation(scores: Sequence[float], accuracies: Sequence[float]) -> float | None:
    """Spearman's ρ, ties at their mean rank; None for fewer than two checkpoints, or where either is constant."""
    if len(scores) < 2:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        rho = float(spearmanr(scores, accuracies).statistic)
    return rho if rho == rho else None
