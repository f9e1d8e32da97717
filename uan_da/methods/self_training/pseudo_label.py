"""Pseudo-labels: the class that the network would say is taught to it as if it were the label."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output

Part = Annotated[float, Field(ge=0, le=1)]


class PseudoLabel(TransferMethod):
    r"""Pseudo-Label (Lee, ICML workshop 2013).

    .. math:: L = CE(f(x_S), y_S) + α(t) · \frac{1}{N_T} \sum_i 1[\max p_i ≥ τ] · CE(f(x_T)_i, \arg\max p_i),
        \quad p = softmax f(x_T)

    with α(t) = 0 up to T₁, then rising linearly to ``trade_off`` at T₂, and the labels anew at every step. The paper's
    unlabelled images are the target here. Its α_f = 3, T₁ = 100 and T₂ = 600 count from the start of a training of no
    stated length; ``ramp_start`` and ``ramp_end`` are parts of the training, in the same proportion. The paper takes
    every label, τ = 0; τ = 0.95 is usual since Oliver et al. (NeurIPS 2018, arXiv:1804.09170). Its network has no norm
    that could tell one forward from two.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 3.0,
        threshold: Part = 0.0,
        ramp_start: Part = 0.1,
        ramp_end: Part = 0.6,
    ) -> None:
        super().__init__()
        self.trade_off, self.threshold = trade_off, threshold
        self.ramp_start, self.ramp_end = ramp_start, ramp_end

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The weighted cross-entropy of the target's predictions and their own most likely class."""
        confidence, pseudo = target.logits.detach().softmax(1).max(1)
        kept = (confidence >= self.threshold).to(confidence.dtype)
        loss = (kept * F.cross_entropy(target.logits, pseudo, reduction="none")).mean()
        weight = self._weight(progress.part)
        return Loss({"pseudo_label": weight * loss}, {"kept": kept.mean(), "weight": loss.new_tensor(weight)})

    def _weight(self, part: float) -> float:
        """α of the part of the training that is done; a ramp that ends where it starts, or before, is a jump."""
        if part < self.ramp_start:
            return 0.0
        if part >= self.ramp_end:
            return self.trade_off
        return self.trade_off * (part - self.ramp_start) / (self.ramp_end - self.ramp_start)
