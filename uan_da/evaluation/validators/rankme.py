"""Effective rank of the features."""

import torch

from uan_da.evaluation.predict import Predictions

EPS = 1e-7


def rankme(target: Predictions) -> float:
    r"""RankMe: the effective rank of the target's features (Garrido et al., ICML 2023, arXiv:2210.02885).

    .. math:: \exp\Big(-\sum_k p_k \log p_k\Big), \quad p_k = σ_k / \sum_j σ_j + 10^{-7}

    over the singular values σ of the features ``(N, F)``. It says that features have not collapsed, and knows nothing
    of classes.
    """
    x = target.features.double()
    gram = x.T @ x if x.shape[0] > x.shape[1] else x @ x.T
    sigma = torch.linalg.eigvalsh(gram).clamp_min(0.0).sqrt()
    p = sigma / sigma.sum().clamp_min(torch.finfo(sigma.dtype).tiny) + EPS
    return float((-(p * p.log()).sum()).exp())
