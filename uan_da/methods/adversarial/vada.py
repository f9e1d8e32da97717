"""VADA: decision boundaries stay away from the data of both domains, and a discriminator is confused."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, View
from uan_da.methods.adversarial.discriminator import discriminator, domain_accuracy, domain_loss, fixed, judge
from uan_da.methods.adversarial.virtual_adversarial import virtual_adversarial
from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier, Output
from uan_da.norms import DomainNorm, frozen_statistics

Weight = Annotated[float, Field(ge=0)]
Radius = Annotated[float, Field(gt=0)]


class VADA(Method):
    r"""Virtual adversarial domain adaptation (Shu et al., ICLR 2018, arXiv:1802.08735).

    .. math:: L = CE(f(x_S), y_S) + w_d · D + w_S · V_S + w_T · \big[V_T + E\,H(p(x_T))\big]

    where V is the virtual adversarial loss of
    :func:`~uan_da.methods.adversarial.virtual_adversarial.virtual_adversarial`, H the entropy of a prediction, and
    D = ½[BCE(d(g_S), 0) + BCE(d(g_T), 1)] what the features minimise to confuse a discriminator d, which minimises the
    same with the labels exchanged.

    From the authors' code: w_d = 0.01, w_S = 1, w_T = 0.01, radius 3.5; one hidden layer of 100 in d; a forward per
    domain, of which only the target's updates running statistics (layers with a branch per domain update them all);
    ``joint`` is one forward for both. Its discriminator sees the 8×8×64 map behind the second pooling and is trained
    on batches of its own, in turn with the network; here it sees the features, and both learn from the same batch, in
    the same step. The authors evaluate an average of the weights: ``train.ema: 0.998``.
    """

    views: ClassVar[tuple[View, ...]] = ("weak",)
    needs: ClassVar[str] = "target images"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        domain_weight: Weight = 1e-2,
        source_weight: Weight = 1.0,
        target_weight: Weight = 1e-2,
        radius: Radius = 3.5,
        routing: Routing = "separate",
    ) -> None:
        super().__init__()
        self.domain_weight, self.source_weight, self.target_weight = domain_weight, source_weight, target_weight
        self.radius, self.routing = radius, routing
        self.discriminator = discriminator(model.num_features, (100,))

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch; the discriminator's is a term of its own, which moves nothing else."""
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = outputs = self._forward(model, images, domains)
        confused = domain_loss(*(-d for d in judge(fixed(self.discriminator), source.features, target.features)))
        told = judge(self.discriminator, source.features.detach(), target.features.detach())
        smooth_s, smooth_t = smoothness(model, images, domains, outputs, self.radius, self.routing)
        terms = {
            "source": F.cross_entropy(source.logits, batch.source.labels),
            "domain": self.domain_weight * confused,
            "discriminator": domain_loss(*told),
            "source_smoothness": self.source_weight * smooth_s,
            "target_smoothness": self.target_weight * smooth_t,
            "target_entropy": self.target_weight * entropy(target.logits).mean(),
        }
        return Loss(terms, {"domain_accuracy": domain_accuracy(*told)})

    def _forward(self, model: Classifier, images: Sequence[Tensor], domains: Sequence[Tensor]) -> list[Output]:
        if self.routing == "joint":
            return forward(model, images, domains, "joint")
        branches = any(isinstance(module, DomainNorm) for module in model.modules())
        with nullcontext() if branches else frozen_statistics(model):
            source = forward(model, images[:1], domains[:1], "separate")
        return source + forward(model, images[1:], domains[1:], "separate")


def smoothness(
    model: Classifier,
    images: Sequence[Tensor],
    domains: Sequence[Tensor],
    outputs: Sequence[Output],
    radius: float,
    routing: Routing,
) -> list[Tensor]:
    """The virtual adversarial loss of batches of some domains; no running statistic changes."""

    def classify(moved: list[Tensor]) -> list[Tensor]:
        return [output.logits for output in forward(model, moved, domains, routing)]

    with frozen_statistics(model):
        return virtual_adversarial(classify, images, [output.logits for output in outputs], radius)
