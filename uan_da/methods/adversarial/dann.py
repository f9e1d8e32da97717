"""Domain-adversarial training: features that a discriminator cannot tell apart by domain."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.adversarial.discriminator import Smoothing, discriminator, domain_accuracy, domain_loss, judge
from uan_da.methods.adversarial.gradient_reversal import ReversalSteps, reversal_strength, reverse_gradient
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output


class DANN(TransferMethod):
    r"""Domain-adversarial neural network (Ganin et al., JMLR 2016, arXiv:1505.07818).

    .. math:: L = CE(f(x_S), y_S) + w · ½[BCE(d(r_λ(g(x_S))), 1) + BCE(d(r_λ(g(x_T))), 0)]

    where g are the features, d the discriminator, and r_λ the gradient reversal: the identity forward, −λ times the
    gradient backward, with λ as in :func:`~uan_da.methods.adversarial.gradient_reversal.reversal_strength`.

    From the paper: λ over the part of the training that is done; w = 1. TLLib's protocol, whose figures are the
    published ones: ``hidden: 1024``, ``discriminator_norm: true``, ``reversal_steps: 1000``.

    ``environment_smoothing`` smooths the domains' labels, as
    :func:`~uan_da.methods.adversarial.discriminator.domain_loss` says; ``sdat_radius`` is that of
    :class:`~uan_da.methods.method.Ascent`.
    """

    parallel = True

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        hidden: Annotated[int, Field(ge=1, le=65536)] = 256,
        discriminator_norm: bool = False,
        reversal_steps: ReversalSteps = None,
        reversal_high: Annotated[float, Field(ge=0)] = 1.0,
        environment_smoothing: Smoothing = 0.0,
        sdat_radius: Annotated[float, Field(ge=0)] = 0.0,
    ) -> None:
        super().__init__()
        self.environment_smoothing, self.sdat_radius = environment_smoothing, sdat_radius
        self.trade_off, self.reversal_steps, self.reversal_high = trade_off, reversal_steps, reversal_high
        self.discriminator = discriminator(model.num_features, (hidden, hidden), discriminator_norm)

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The weighted loss of the discriminator on features whose gradient is reversed."""
        strength = reversal_strength(progress, self.reversal_steps, self.reversal_high)
        reversed_ = [reverse_gradient(output.features, strength) for output in (source, target)]
        on_source, on_target = judge(self.discriminator, *reversed_)
        loss = domain_loss(on_source, on_target, smoothing=self.environment_smoothing)
        metrics = {"domain_accuracy": domain_accuracy(on_source, on_target), "reversal": torch.tensor(strength)}
        return Loss({"domain": self.trade_off * loss}, metrics)
