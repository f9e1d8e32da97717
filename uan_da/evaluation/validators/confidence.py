"""Validators that read how sure the answers on the target are, and how evenly they use the classes."""

from torch import Tensor

from uan_da.evaluation.predict import Predictions


def entropy(target: Predictions) -> float:
    """−mean H(p) on the target: confident is better (Morerio et al., ICLR 2018, arXiv:1711.10288)."""
    return -float(_entropy(target.probabilities).mean())


def diversity(target: Predictions) -> float:
    """H(mean p) on the target: classes used evenly are better (the first term of information maximisation)."""
    return float(_entropy(target.probabilities.mean(0, keepdim=True)))


def information_maximization(target: Predictions) -> float:
    """H(mean p) − mean H(p) on the target: confident and diverse (Shi & Sha, ICML 2012, arXiv:1206.6438)."""
    return diversity(target) + entropy(target)


def _entropy(probabilities: Tensor) -> Tensor:
    """Entropy in nats of each row, ``(N,)``; 0·log 0 is 0."""
    return -(probabilities * probabilities.clamp_min(1e-30).log()).sum(1)
