"""GVB: bridges take what is of one domain out of the predictions and out of the discriminator, and then vanish."""

import copy
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.errors import UserError
from uan_da.methods.adversarial.discriminator import discriminator, domain_accuracy, domain_loss
from uan_da.methods.adversarial.gradient_reversal import ReversalSteps, reversal_strength, reverse_gradient
from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier


class GVB(Method):
    r"""Gradually vanishing bridge, GVB-GD (Cui et al., CVPR 2020, arXiv:2003.13183).

    .. math:: L = CE(z_S, y_S) + w · ½\big[E\,ω_S BCE(d(r_λ(p_S)), 1) + E\,ω_T BCE(d(r_λ(p_T)), 0)\big]
        + λ_G E|γ| + λ_D E|σ|, \quad z = f(g) − γ(g), \quad d = D(h) − σ(h), \quad p = softmax\, z

    where γ, the bridge of the generator, is a linear layer of the features g beside the head f; h is the last hidden
    layer of the discriminator, which sees the probabilities p, and σ its bridge, a linear layer beside its last, D. r_λ
    is the gradient reversal, through which σ's term goes too. ω ∝ e^{−H(p)}, of mean 1 in each domain, and its gradient
    is reversed, as in CDAN+E. The logits are z, so that the network that is kept has the head f − γ.

    From the authors' code: w = λ_G = λ_D = 1, a discriminator with layers of 1024, a forward for each domain, and the
    reversal over the training (``reversal_steps: 1000`` is theirs to the step). Theirs has dropout, starts all linear
    layers by Kaiming's rule, and adds 1e-8 inside the logarithms of the discriminator and 1e-5 in those of H.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        generator_bridge: Annotated[float, Field(gt=0)] = 1.0,
        discriminator_bridge: Annotated[float, Field(gt=0)] = 1.0,
        hidden: Annotated[int, Field(ge=1, le=65536)] = 1024,
        discriminator_norm: bool = False,
        reversal_steps: ReversalSteps = None,
        reversal_high: Annotated[float, Field(ge=0)] = 1.0,
        routing: Routing = "separate",
    ) -> None:
        """``generator_bridge`` and ``discriminator_bridge`` are λ_G and λ_D."""
        super().__init__()
        if type(model.head) is not nn.Linear:
            raise UserError("method gvb: the bridge becomes part of a linear head: leave out the options of head")
        self.trade_off, self.routing = trade_off, routing
        self.weights = generator_bridge, discriminator_bridge
        self.reversal_steps, self.reversal_high = reversal_steps, reversal_high
        self.bridge = model.new_head()
        self.discriminator = discriminator(num_classes, (hidden, hidden), discriminator_norm)
        self.discriminator_bridge = nn.Linear(hidden, 1)

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of a batch."""
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, self.routing)
        bridges = self.bridge(source.features), self.bridge(target.features)
        logits = source.logits - bridges[0], target.logits - bridges[1]
        strength = reversal_strength(progress, self.reversal_steps, self.reversal_high)
        hidden = self.discriminator[:-1](reverse_gradient(torch.cat(logits).softmax(1), strength))
        bridge = self.discriminator_bridge(hidden)
        judged = (self.discriminator[-1](hidden) - bridge).squeeze(1)
        on_source, on_target = torch.split(judged, [len(side) for side in logits])
        adversarial = domain_loss(on_source, on_target, *(_certainty(side, strength) for side in logits))
        on_generator, on_discriminator = self.weights
        terms = {
            "source": F.cross_entropy(logits[0], batch.source.labels),
            "domain": self.trade_off * adversarial,
            "generator_bridge": on_generator * torch.cat(bridges).abs().mean(),
            "discriminator_bridge": on_discriminator * bridge.abs().mean(),
        }
        metrics = {"domain_accuracy": domain_accuracy(on_source, on_target), "reversal": torch.tensor(strength)}
        return Loss(terms, metrics)

    def predictor(self, model: Classifier) -> Classifier:
        """The network whose head has the bridge taken out of it."""
        head = copy.deepcopy(model.head)
        with torch.no_grad():
            for own, bridge in zip(head.parameters(), self.bridge.parameters(), strict=True):
                own.sub_(bridge)
        return model.with_head(head)


def _certainty(logits: Tensor, strength: float) -> Tensor:
    """e^{−H} of each prediction of a domain, over their mean; the gradient is reversed."""
    weight = (-entropy(reverse_gradient(logits, strength))).exp()
    return weight / weight.detach().mean()
