"""Matrix norm of the normalised logits."""

from typing import Annotated

import torch
from pydantic import Field

from uan_da.evaluation.predict import Predictions


def mano(target: Predictions, *, order: Annotated[float, Field(ge=1)] = 4.0, threshold: float = 5.0) -> float:
    r"""MaNo: the matrix norm of normalised logits on the target (Xie et al., NeurIPS 2024, arXiv:2405.18979).

    .. math:: \Big(\frac{1}{NK} \sum_{nk} σ(z_n)_k^p\Big)^{1/p}, \quad σ(z) = v(z) / \sum_k v(z)_k

    v = exp where the model is sure, that is where Φ, the mean of −log softmax over images and classes, exceeds the
    threshold; else v(z) = 1 + z + z²/2, which overconfidence distorts less.
    """
    z = target.logits.double()
    divergence = -float(z.log_softmax(1).mean())
    q = z.softmax(1) if divergence > threshold else torch.nn.functional.normalize(1 + z + z.square() / 2, p=1, dim=1)
    return float(q.pow(order).mean() ** (1 / order))
