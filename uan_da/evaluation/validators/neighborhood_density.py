"""Soft neighbourhood density."""

from typing import Annotated

from pydantic import Field
from torch.nn import functional as F

from uan_da.evaluation.predict import Predictions


def snd(target: Predictions, *, temperature: Annotated[float, Field(gt=0)] = 0.05) -> float:
    r"""Soft neighbourhood density: entropy of the similarities of the target's outputs (Saito et al., ICCV 2021).

    SND, arXiv:2108.10860:

    .. math:: \frac1N \sum_i H(\mathrm{softmax}_{j≠i}(\cos(p_i, p_j) / T))

    over class probabilities p: high where each image has many near neighbours. One image has none: 0.
    """
    if len(target) < 2:
        return 0.0
    p = F.normalize(target.probabilities, dim=1)
    similarity = p @ p.T / temperature
    similarity.fill_diagonal_(float("-inf"))
    log_q = similarity.log_softmax(1).fill_diagonal_(0.0)
    q = log_q.exp().fill_diagonal_(0.0)
    return -float((q * log_q).sum(1).mean())
