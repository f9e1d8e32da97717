"""Predictions corrected for the class proportions of a stream, which may differ from those of the training."""

import math
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import digamma, expit, gammaln
from torch import Tensor, nn

Floats = NDArray[Any]

WINDOW = 64
"""The last images by which proportions are judged, or the batch where it is larger: a usual batch."""
STEPS = 5
"""Of EM; classes that are sure settle in two or three."""
SLACK = 0.25
"""Nats per image: what the wrong predictions of balanced images may look like. Under new conditions they favour some
classes. A window of 64 images of one class out of ten has 1.9."""


class LabelShift(nn.Module):
    r"""Posteriors under the class proportions π of the last images, if there is evidence of unequal proportions.

    Training is assumed to be balanced. Under proportions π, a prediction p becomes ∝ π_c p_c, and EM estimates π
    (Saerens, Latinne & Decaestecker, Neural Computation 2002). Here π has the flat prior Dirichlet(1, …, 1), and EM is
    variational,

    .. math:: r_{nc} ∝ p_{nc} \, e^{ψ(a_c) - ψ(\sum a)}, \quad a_c = 1 + \sum_n r_{nc}

    over the last images n. It bounds the log evidence of this model over that of balanced classes,

    .. math:: L = \sum_n \log \sum_c C p_{nc} \, e^{ψ(a_c) - ψ(\sum a)}
       - \mathrm{KL}(\mathrm{Dir}(a) \,\|\, \mathrm{Dir}(1))

    and the prediction is the mean over both models, s r + (1 − s) p with s = σ(L − N · ``SLACK``). So predictions on
    balanced streams stay.
    """

    recent: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.register_buffer("recent", torch.zeros(0, num_classes))

    @torch.no_grad()
    def corrected(self, logits: Tensor) -> Tensor:
        """Logits ``(B, C)`` of the next images, given those before."""
        p = logits.detach().float().softmax(1).cpu().numpy()  # NumPy: so few numbers cost their calls alone
        window = np.concatenate([self.recent.cpu().numpy(), p])[-max(WINDOW, len(p)) :]
        self.recent = torch.from_numpy(window[-WINDOW:])
        proportions, evidence = class_proportions(window)
        shifted = p * proportions
        shifted /= shifted.sum(1, keepdims=True)
        prediction = p + expit(evidence - SLACK * len(window)) * (shifted - p)
        return torch.from_numpy(np.log(prediction.clip(np.finfo(np.float32).tiny))).to(logits)


def class_proportions(p_nc: Floats) -> tuple[Floats, Any]:
    """exp E log π ``(C,)`` by variational EM from predictions ``(N, C)`` under balanced classes, and L."""
    classes = p_nc.shape[1]
    a = 1 + p_nc.sum(0)
    for _ in range(STEPS):
        weight = np.exp(digamma(a))
        a = 1 + weight * ((1 / (p_nc @ weight)) @ p_nc)
    log_weight = digamma(a) - digamma(a.sum())
    weight = np.exp(log_weight)
    gain = np.log(classes * (p_nc @ weight)).sum()
    divergence = gammaln(a.sum()) - gammaln(a).sum() - math.lgamma(classes) + (a - 1) @ log_weight
    return weight, gain - divergence
