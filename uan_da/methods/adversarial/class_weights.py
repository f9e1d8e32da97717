"""How much each class of the source counts, by the part of the target that is taken for it."""

import torch
from torch import Tensor, nn


class ClassWeights(nn.Module):
    r"""γ = E softmax(s f(x_T)), the mean prediction on the target over ``refresh`` steps, scaled to the mean 1.

    A class that no target image is taken for counts nothing. All classes count 1 until γ is taken for the first time.

    Args:
        num_classes: of the source.
        refresh: the steps after which γ is taken anew.
        sharpness: s, which multiplies the logits.
    """

    weight: Tensor
    sum: Tensor
    steps: Tensor

    def __init__(self, num_classes: int, refresh: int, sharpness: float = 1.0) -> None:
        super().__init__()
        self.refresh, self.sharpness = refresh, sharpness
        self.register_buffer("weight", torch.ones(num_classes))
        self.register_buffer("sum", torch.zeros(num_classes))
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def see(self, logits: Tensor) -> None:
        """The logits ``(N, C)`` of a batch of the target."""
        self.sum += (self.sharpness * logits.detach()).softmax(1).mean(0)

    def after_step(self) -> None:
        """Count the step, and take γ where it is time."""
        self.steps += 1
        if int(self.steps) % self.refresh == 0:
            self.weight.copy_(self.sum / self.sum.mean())
            self.sum.zero_()
