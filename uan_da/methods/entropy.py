"""How unsure a classifier's predictions are."""

import math

from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, ``(N,)``, of the softmax of each row of ``logits`` ``(N, C)``: −Σ_k p_k·log p_k.

    From logits, so that a probability that rounds to 0 counts 0 and has a finite gradient.
    """
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)


def entropy_of_mean(logits: Tensor) -> Tensor:
    """Entropy in nats of the mean over a batch of the softmax of ``logits`` ``(N, C)``: log C where all classes are
    used evenly, 0 where all predictions are one class."""
    log_mean = logits.log_softmax(1).logsumexp(0, keepdim=True) - math.log(len(logits))
    return entropy(log_mean).squeeze(0)  # the log-probabilities of a distribution are logits of it
