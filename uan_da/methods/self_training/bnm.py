"""Batch nuclear-norm maximisation: predictions on the target that are sure and, as a matrix, of high rank."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier, Output


class BNM(TransferMethod):
    r"""Batch nuclear-norm maximisation (Cui et al., CVPR 2020, arXiv:2003.12237).

    .. math:: L = CE(f(x_S), y_S) − \frac{w}{N_T} ‖P‖_*, \quad P = softmax f(x_T) ∈ ℝ^{N_T × C}

    where the nuclear norm ‖·‖_* is the sum of the singular values. The paper's formula divides by N_T; the authors'
    code divides by min(N_T, C) instead, which is N_T / C times as strong where a batch has more images than there are
    classes: raise ``trade_off`` by that factor for it. One forward per domain (the authors' code).
    """

    routing: ClassVar[Routing] = "separate"
    on_predictions: ClassVar[bool] = True

    def __init__(self, model: Classifier, num_classes: int, *, trade_off: Annotated[float, Field(ge=0)] = 1.0) -> None:
        super().__init__()
        self.trade_off = trade_off

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """Minus the weighted nuclear norm of the target's probabilities, per image."""
        return Loss({"nuclear_norm": -self.trade_off * nuclear_norm(target.logits.softmax(1)) / len(target.logits)})


def nuclear_norm(matrix: Tensor) -> Tensor:
    """The sum of the singular values of ``matrix`` ``(N, C)``; NaN where they cannot be computed, as of a NaN: the
    training then stops and names the step and the term."""
    try:
        norm: Tensor = torch.linalg.matrix_norm(matrix, "nuc")
    except torch.linalg.LinAlgError:  # type: ignore[attr-defined]  # torch's stubs lack it
        return matrix.new_full((), torch.nan)
    return norm
