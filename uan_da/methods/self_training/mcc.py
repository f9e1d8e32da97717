"""Minimum class confusion: no two classes share the predictions on the target."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output


class MCC(TransferMethod):
    r"""Minimum class confusion (Jin et al., ECCV 2020, arXiv:1912.03699).

    .. math:: L = CE(f(x_S), y_S) + \frac{w}{C} \sum_j \sum_{k ≠ j} \tilde C_{jk}, \quad
        \tilde C_{jk} = \frac{C_{jk}}{\sum_l C_{jl}}, \quad C_{jk} = \sum_i ω_i p_{ij} p_{ik}

    with p = softmax(f(x_T) / T) and weights ω_i ∝ 1 + e^{−H(p_i)} of mean 1, which prefer sure predictions and have no
    gradient (the authors' code). The rows of p sum to one, so that the matrix need not be built:
    Σ_l C_jl = Σ_i ω_i p_ij. The authors' first code makes a forward per domain; their later one, in TLLib, whose
    figures are the published ones here, makes one for both.
    """

    settings = ("closed_set", "partial")
    on_predictions: ClassVar[bool] = True

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        temperature: Annotated[float, Field(gt=0)] = 2.5,
    ) -> None:
        super().__init__()
        self.trade_off, self.temperature = trade_off, temperature

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The weighted confusion of the target's classes."""
        return Loss({"confusion": self.trade_off * class_confusion(target.logits / self.temperature)})


def class_confusion(logits: Tensor) -> Tensor:
    """The mean over classes of the part of a class's predictions, of ``logits`` ``(N, C)``, that other classes share.

    0 where each prediction is one class, 1 − 1/C where all are uniform. A class that no image has a probability of (it
    rounds to 0) counts as fully shared, which is the limit.
    """
    p = logits.softmax(1)
    weight = 1 + (-entropy(logits.detach())).exp()
    weight = (weight / weight.mean()).unsqueeze(1)
    own, all_ = (weight * p * p).sum(0), (weight * p).sum(0)
    return (1 - own / all_.clamp_min(torch.finfo(p.dtype).tiny ** 0.5)).mean()
