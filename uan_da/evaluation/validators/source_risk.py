"""Validators that read the labelled source, as it is or weighted toward the target."""

import torch
from torch import Tensor
from torch.nn import functional as F

from uan_da.evaluation.predict import Predictions


def source_accuracy(source_validation: Predictions) -> float:
    """Accuracy on the source's validation images; says nothing of the target."""
    return float((source_validation.classes == source_validation.labels).float().mean())


def importance_weighted(source_validation: Predictions, importance: Tensor) -> float:
    """Importance-weighted risk −mean w(x)·error(x) on the source, error 0 or 1 (Sugiyama et al., JMLR 2007).

    w = p_target/p_source over features: :func:`uan_da.evaluation.importance.importance_weights`.
    """
    wrong = (source_validation.classes != source_validation.labels).double()
    return -float((importance * wrong).mean())


def dev(source_validation: Predictions, importance: Tensor) -> float:
    r"""Deep embedded validation: importance-weighted with a control variate (You et al., ICML 2019).

    .. math:: -[\mathrm{mean}(wℓ) + η\, \mathrm{mean}(w) - η], \quad η = -\mathrm{Cov}(wℓ, w) / \mathrm{Var}(w)

    with ℓ the cross-entropy on the source. The mean of w is 1 in expectation, and η takes out what its noise adds.
    Equal weights leave nothing to take out: η = 0.
    """
    loss = F.cross_entropy(source_validation.logits.double(), source_validation.labels, reduction="none")
    weighted = importance * loss
    if len(loss) < 2 or float(importance.var()) == 0.0:
        return -float(weighted.mean())
    eta = -torch.cov(torch.stack([weighted, importance]))[0, 1] / importance.var()
    return -float(weighted.mean() + eta * importance.mean() - eta)
