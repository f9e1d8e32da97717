"""The mixture that a layer's parameters describe, and the step of online EM that moves them."""

import torch
from torch import Tensor
from torch.nn import functional as F

from uan_da.norms.reference import Mixture, Moments
from uan_da.norms.running import move

PRIOR_FLOOR = 1e-3
"""λ_k never falls below this, so that a cluster that lost its data can be found again."""
MIN_VAR = 1e-12
"""Floor of σ² in the EM step: a constant channel must not send log σ² to −∞."""


def mixture_of(mean_kc: Tensor, log_var_kc: Tensor, logits_k: Tensor, shift_c: Tensor) -> Mixture:
    """μ (less the shift), σ² and log λ as fresh tensors: the EM step edits the parameters in place, and a pending
    backward must not have saved those."""
    dtype = shift_c.dtype
    floor = PRIOR_FLOOR / len(logits_k)
    share_k = F.softmax(logits_k.to(dtype), dim=0)
    prior_k = torch.rsub(share_k, floor, alpha=PRIOR_FLOOR - 1)  # floor + (1 − PRIOR_FLOOR) · share, at once
    return Mixture(mean_kc.to(dtype) - shift_c, log_var_kc.to(dtype).exp(), prior_k.log())


@torch.no_grad()
def em_step(
    mean_kc: Tensor, log_var_kc: Tensor, logits_k: Tensor, mixture: Mixture, moments: Moments, rate: float
) -> None:
    """One step of online EM: μ, σ² and λ move toward the moments (of the data as they are, without a shift) at
    ``rate``; ``mixture`` is that of the parameters."""
    move(mean_kc, moments.mean, rate)
    log_var_kc.copy_(torch.lerp(mixture.var, moments.var, rate).clamp_min_(MIN_VAR).log_())
    prior_k = torch.lerp(mixture.log_prior.exp(), moments.mass.mean(1), rate)
    floor = PRIOR_FLOOR / len(logits_k)
    logits_k.copy_(prior_k.sub_(floor).clamp_min_(floor * PRIOR_FLOOR).log_())
