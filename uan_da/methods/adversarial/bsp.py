"""BSP: adversarial training without features that stand out, so that classes stay apart."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.adversarial.cdan import CDAN
from uan_da.methods.adversarial.dann import DANN
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output
from uan_da.norms.forward import widened, without_autocast


class BSP(TransferMethod):
    r"""Batch spectral penalization (Chen et al., ICML 2019, PMLR 97:1081–1090).

    .. math:: L = CE(f(x_S), y_S) + A + w · [σ_1(G_S)^2 + σ_1(G_T)^2]

    with the largest singular values σ_1 of the features of a batch, G_S ``(N_S, F)`` and G_T ``(N_T, F)``, and the loss
    A of an adversary: DANN or CDAN+E, with two layers of 1024 with BatchNorm and λ over 1000 steps, as in TLLib.

    From the paper and the authors' code: one singular value, CDAN+E, w = 1e-4. From TLLib, whose figures are the
    published ones and the defaults here: DANN, w = 2e-4, three epochs on the source first. With ``adversary: none`` it
    is the penalty alone, to be added (``then``) to an adversary with options of its own.
    """

    pretrain_epochs: ClassVar[int] = 3

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 2e-4,
        adversary: Literal["dann", "cdan", "none"] = "dann",
    ) -> None:
        super().__init__()
        self.trade_off = trade_off
        self.adversary: DANN | CDAN | None = None
        if adversary == "dann":
            self.adversary = DANN(model, num_classes, hidden=1024, discriminator_norm=True, reversal_steps=1000)
        elif adversary == "cdan":
            self.adversary = CDAN(model, num_classes, entropy_weighting=True, reversal_steps=1000)

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The adversary's loss and the weighted penalty."""
        penalty = spectral_energy(source.features) + spectral_energy(target.features)
        own = {"spectral": self.trade_off * penalty}
        if self.adversary is None:
            return Loss(own)
        loss = self.adversary.transfer(source, target, labels, progress)
        return Loss(loss.terms | own, loss.metrics)


def spectral_energy(features: Tensor) -> Tensor:
    """The square of the largest singular value of ``features`` ``(N, F)``."""
    with without_autocast(features):
        energy: Tensor = torch.linalg.svdvals(widened(features))[0].square()
    return energy
