"""Virtual adversarial training: predictions that a small change of the image does not change."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

PROBE = 1e-2
"""The length of the step whose gradient shows the worst direction. In 32 bits a much shorter one is lost in rounding:
at 1e-6, the authors', the direction found in a network without noise is nearly random (cosine .1 with the exact one
for a small CNN with BatchNorm, .999 at 1e-2); where dropout or noise differ between the passes, it is the same."""


def virtual_adversarial(
    classify: Callable[[list[Tensor]], list[Tensor]],
    images: Sequence[Tensor],
    logits: Sequence[Tensor],
    radius: float,
) -> list[Tensor]:
    r"""Virtual adversarial training (Miyato et al., TPAMI 2018, arXiv:1704.03976), of several batches at once.

    .. math:: E\, KL\big(p(x) ‖ p(x + r)\big), \quad r = ρ \frac{∇_d}{‖∇_d‖}, \;
        ∇_d = \frac{∂}{∂d} KL\big(p(x) ‖ p(x + d)\big), \; d = ξ · \text{a random direction}

    without gradient through p(x) and r: one power iteration toward the change of length ρ that matters most.

    Args:
        classify: batches of images to their logits ``(N_i, C)``; called twice, in training mode.
        images: batches ``(N_i, …)``.
        logits: what ``classify`` has predicted on them.
        radius: ρ, in the units of the images, over all values of one image.

    Returns:
        The mean divergence of each batch, which only the second call's graph leads back from.
    """
    predictions = [each.detach() for each in logits]
    # not randn_like, whose numbers depend on the memory format
    noise = [torch.randn(x.shape, dtype=x.dtype, device=x.device) for x in images]
    steps = [(PROBE * _unit(each)).requires_grad_() for each in noise]
    probed = classify([x + step for x, step in zip(images, steps, strict=True)])
    change = torch.cat([divergence(p, q) for p, q in zip(predictions, probed, strict=True)])
    gradients = torch.autograd.grad(change.sum(), steps)
    moved = classify([x.detach() + radius * _unit(g) for x, g in zip(images, gradients, strict=True)])
    return [divergence(p, q).mean() for p, q in zip(predictions, moved, strict=True)]


def divergence(p: Tensor, q: Tensor) -> Tensor:
    """KL(p ‖ q) in nats, ``(N,)``, of the softmax of each row of two logits ``(N, C)``."""
    return F.kl_div(q.log_softmax(1), p.log_softmax(1), log_target=True, reduction="none").sum(1)


def _unit(x: Tensor) -> Tensor:
    """``x`` ``(N, …)`` with each sample scaled to length 1; a sample of zeros stays."""
    flat = x.flatten(1)
    flat = flat / flat.abs().amax(1, keepdim=True).clamp_min(torch.finfo(x.dtype).tiny)  # its squares do not underflow
    length: Tensor = torch.linalg.vector_norm(flat, dim=1, keepdim=True)
    return (flat / length.clamp_min(1.0)).view_as(x)
