"""BA3US: the target is filled up with source images while aligned, and the source's other classes become even."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.class_weights import ClassWeights
from uan_da.methods.adversarial.discriminator import discriminator, domain_accuracy, judge
from uan_da.methods.adversarial.gradient_reversal import ReversalSteps, reversal_strength, reverse_gradient
from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier


class BA3US(Method):
    r"""Balanced adversarial alignment and adaptive uncertainty suppression (Liang et al., ECCV 2020, arXiv:2003.02541).

    .. math:: L = \frac{\sum_i γ_{y_i} CE(f(x_i), y_i)}{\sum_i γ_{y_i}} + w_d D + w_e\, E\,H(f(x_T))
        - w_c \frac{\sum_i γ_{y_i} (1 − p_{i,y_i})\, H(q_i)}{\log(C − 1) \sum_i γ_{y_i} (1 − p_{i,y_i})}

    where γ is that of :class:`~uan_da.methods.adversarial.class_weights.ClassWeights`, and q_i are the probabilities of
    a source image's other classes, scaled to the sum 1: a class that the target lacks attracts no image. D is the
    weighted loss of a discriminator, whose gradient is reversed, on source, target and the part ``share`` of the source
    images, which stand on the target's side in place of the classes that it lacks:

    .. math:: D = \frac{1}{2 + ρ} \Big[\frac{1 + ρ}{\sum_{S ∪ M} γ_y ω} \Big(\sum_S −γ_y ω \log d
        + \sum_M −γ_y ω \log(1 − d)\Big) + \frac{1}{\sum_T ω} \sum_T −ω \log(1 − d)\Big], \quad ω = 1 + e^{−H(p)}

    with ρ = |M| / |S|, which falls to 0 over the training, a step at each ``refresh``. The gradient of ω is reversed
    too.

    From the authors' code: all weights, a forward for each domain, and ``refresh: 500`` and w_c = 1 for Office-Home,
    where a training has ten times as many steps; for Office-31 and ImageNet to Caltech w_c = 5. They draw the images M
    from the source anew; here they are some of the batch's own. They take γ on all target images in evaluation mode;
    here it is the mean over the batches since the last time. Their discriminator has dropout, and their logarithms have
    + 1e-7.
    """

    settings = ("closed_set", "partial")

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        entropy_weight: Annotated[float, Field(ge=0)] = 0.1,
        complement_weight: Annotated[float, Field(ge=0)] = 1.0,
        share: Annotated[float, Field(ge=0, le=1)] = 0.25,
        refresh: Annotated[int, Field(ge=1)] = 500,
        hidden: Annotated[int, Field(ge=1, le=65536)] = 1024,
        reversal_steps: ReversalSteps = None,
        routing: Routing = "separate",
    ) -> None:
        """``trade_off``, ``entropy_weight`` and ``complement_weight`` are w_d, w_e and w_c."""
        super().__init__()
        self.trade_off, self.entropy_weight, self.complement_weight = trade_off, entropy_weight, complement_weight
        self.share, self.refresh, self.reversal_steps, self.routing = share, refresh, reversal_steps, routing
        self.discriminator = discriminator(model.num_features, (hidden, hidden))
        self.classes = ClassWeights(num_classes, refresh)

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The weighted losses of the classifier and of the discriminator, and the two entropies."""
        labels = batch.source.labels
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, self.routing)
        self.classes.see(target.logits)
        strength = reversal_strength(progress, self.reversal_steps)
        on_source, on_target = judge(
            self.discriminator, *(reverse_gradient(output.features, strength) for output in (source, target))
        )
        sure, sure_target = (
            1 + (-entropy(reverse_gradient(z, strength))).exp() for z in (source.logits, target.logits)
        )
        weight = self.classes.weight[labels]
        middle = self.middle(len(labels), progress)
        domain = balanced_domain_loss(on_source, on_target, weight * sure, sure_target, middle.to(labels.device))
        terms = {
            "source": F.cross_entropy(source.logits, labels, self.classes.weight),
            "domain": self.trade_off * domain,
            "entropy": self.entropy_weight * entropy(target.logits).mean(),
            "complement": -self.complement_weight * complement_entropy(source.logits, labels, weight),
        }
        metrics = {"domain_accuracy": domain_accuracy(on_source, on_target), "least_weight": self.classes.weight.min()}
        return Loss(terms, metrics)

    def middle(self, images: int, progress: Progress) -> Tensor:
        """Which of the source's ``images`` in a batch stand on the target's side too: indices, evenly spaced."""
        done, total = progress.step // self.refresh, max(1, progress.total // self.refresh)
        count = int(int(self.share * images) * max(0.0, 1 - done / total))
        return torch.arange(count) * images // max(1, count)

    def after_step(self, model: Classifier) -> None:
        """Count the step of the class weights."""
        self.classes.after_step()


def balanced_domain_loss(
    on_source: Tensor, on_target: Tensor, source_weight: Tensor, target_weight: Tensor, middle: Tensor
) -> Tensor:
    """D of the discriminator's logits ``(N_S,)`` and ``(N_T,)``, positive for the source, of the weights γω and ω of
    the images, and of the indices ``middle`` ``(M,)`` of the source's images that stand on the target's side too."""
    added = len(middle) / len(on_source)
    near = (source_weight * F.softplus(-on_source)).sum() + (source_weight * F.softplus(on_source))[middle].sum()
    mass = (source_weight.sum() + source_weight[middle].sum()).detach()
    far = (target_weight * F.softplus(on_target)).sum() / target_weight.sum().detach()
    return ((1 + added) * near / mass + far) / (2 + added)


def complement_entropy(logits: Tensor, labels: Tensor, weight: Tensor) -> Tensor:
    """The entropy of the classes other than the own one, over log(C − 1), of logits ``(N, C)``; a weighted mean by
    ``weight`` ``(N,)`` times the probability of the other classes. 0 of two classes, where there is one other."""
    count = logits.shape[1]
    others = logits[~F.one_hot(labels, count).bool()].view(len(logits), count - 1)
    with torch.no_grad():
        weight = weight * (others.logsumexp(1) - logits.logsumexp(1)).exp()
        weight = weight / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)
    return (weight * entropy(others)).sum() / math.log(max(2, count - 1))
