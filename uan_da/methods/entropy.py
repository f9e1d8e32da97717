"""How unsure a classifier's answers are."""

from torch import Tensor


def entropy(logits: Tensor) -> Tensor:
    """Entropy in nats, ``(N,)``, of the softmax of each row of ``logits`` ``(N, C)``: −Σ_k p_k·log p_k.

    From logits, so that a probability that rounds to 0 counts 0 and has a finite gradient.
    """
    log_p = logits.log_softmax(1)
    return -(log_p.exp() * log_p).sum(1)
