"""Predictions corrected for the class proportions of a stream, which may differ from those of the training."""

import math

import torch
from torch import Tensor, nn

WINDOW = 64
"""The last images by which proportions are judged, or the batch where it is larger: a usual batch."""
STEPS = 5
"""Of EM; classes that are sure settle in two or three."""


class LabelShift(nn.Module):
    r"""Posteriors under the class proportions π of the last images, if there is evidence of unequal proportions.

    Training is assumed to be balanced. Under proportions π, a prediction p becomes ∝ π_c p_c, and EM estimates π
    (Saerens, Latinne & Decaestecker, Neural Computation 2002). Here π has the flat prior Dirichlet(1, …, 1), and EM is
    variational,

    .. math:: r_{nc} ∝ p_{nc} \, e^{ψ(a_c) - ψ(\sum a)}, \quad a_c = 1 + \sum_n r_{nc}

    over the last images n. It bounds the log evidence of this model over that of balanced classes,

    .. math:: L = \sum_n \log \sum_c C p_{nc} \, e^{ψ(a_c) - ψ(\sum a)}
       - \mathrm{KL}(\mathrm{Dir}(a) \,\|\, \mathrm{Dir}(1))

    and the prediction is the mean over both models, σ(L) r + (1 − σ(L)) p. So predictions on balanced streams stay.
    """

    recent: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("recent", torch.zeros(0, num_classes))

    @torch.no_grad()
    def corrected(self, logits: Tensor) -> Tensor:
        """Logits ``(B, C)`` of the next images, given those before."""
        p = logits.detach().float().softmax(1)
        window = torch.cat([self.recent.to(p.device), p])[-max(WINDOW, len(p)) :]
        self.recent = window[-WINDOW:]
        proportions, evidence = class_proportions(window)
        share = torch.sigmoid(evidence)
        shifted = p * proportions
        answer = torch.lerp(p, shifted / shifted.sum(1, keepdim=True), share)
        return answer.clamp_min(torch.finfo(torch.float32).tiny).log().to(logits)


def class_proportions(p_nc: Tensor) -> tuple[Tensor, Tensor]:
    """exp E log π ``(C,)`` and L, by variational EM from probabilities ``(N, C)`` under balanced classes."""
    classes = p_nc.shape[1]
    one = p_nc.new_ones(classes)
    a = one + p_nc.sum(0)
    for _ in range(STEPS):
        weight = a.digamma().exp()
        a = torch.addcmul(one, weight, p_nc.T @ (p_nc @ weight).reciprocal())
    total, log_weight = a.sum(), a.digamma() - a.sum().digamma()
    weight = log_weight.exp()
    gain = (classes * (p_nc @ weight)).log().sum()
    divergence = total.lgamma() - a.lgamma().sum() - math.lgamma(classes) + (a - one) @ log_weight
    return weight, gain - divergence
