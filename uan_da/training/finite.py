"""The finite check: a loss that is NaN or infinite ends a training, and says which term it was."""

import math

import torch
from torch import Tensor

from uan_da.methods.method import Loss

LOOK_EVERY = 50
"""Losses between two looks at a GPU: each look waits for it."""


class NonFiniteLoss(ArithmeticError):
    """A loss term became NaN or infinite; the optimizer has not moved."""


class FiniteCheck:
    """Looks at each loss: on a CPU at once, elsewhere at every fiftieth, and when it is asked to.

    Until the look, :attr:`stop` keeps the optimizer from moving, on the device.
    """

    def __init__(self, device: torch.device) -> None:
        self.stop = None if device.type == "cpu" else torch.zeros((), device=device)
        """1 from the first loss on that is not finite, else 0; None where each is looked at."""
        self.unseen: list[tuple[int, Loss]] = []

    def note(self, step: int, loss: Loss) -> None:
        """The loss of ``step``, detached.

        Raises:
            NonFiniteLoss: it, or one before it, is not finite; names the step and the term.
        """
        self.unseen.append((step, loss))
        if self.stop is not None:
            self.stop = torch.maximum(self.stop, 1 - loss.total.isfinite().float())
        if self.stop is None or len(self.unseen) >= LOOK_EVERY:
            self.look()

    def look(self) -> None:
        """Look at all losses since the last look; before anything of the training is kept.

        Raises:
            NonFiniteLoss: one is not finite.
        """
        unseen, self.unseen = self.unseen, []
        if self.stop is not None and not bool(self.stop):
            return
        for step, loss in unseen:
            if not math.isfinite(loss.total):  # far cheaper on a CPU than the tensor's own question
                raise NonFiniteLoss(f"step {step}: {_not_finite(loss.terms)}")


def _not_finite(terms: dict[str, Tensor]) -> str:
    bad = {name: float(value) for name, value in terms.items() if not bool(value.isfinite())}
    if not bad:
        return "the sum of the loss terms overflows"
    return ", ".join(f"the loss term {name!r} is {value}" for name, value in bad.items())
