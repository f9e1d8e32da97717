"""PADA: classes that the target seems to lack count less, for the discriminator and for the classifier."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.class_weights import ClassWeights
from uan_da.methods.adversarial.discriminator import discriminator, domain_accuracy, domain_loss, judge
from uan_da.methods.adversarial.gradient_reversal import ReversalSteps, reversal_strength, reverse_gradient
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier


class PADA(Method):
    r"""Partial adversarial domain adaptation (Cao et al., ECCV 2018, arXiv:1808.04205).

    .. math:: L = \frac{\sum_i γ_{y_i} CE(f(x_i), y_i)}{\sum_i γ_{y_i}}
        + w · ½\Big[E\,\frac{γ_y}{\max_i γ_{y_i}} BCE(d(r_λ(g(x_S))), 1) + E\,BCE(d(r_λ(g(x_T))), 0)\Big],
        \quad γ = E\,softmax f(x_T)

    DANN, whose source images count by γ, the mean prediction on the target: a class that no target image is taken for
    counts nothing. γ starts as 1 for all classes and is replaced every ``refresh`` steps. The maximum is the batch's.

    From the authors' code: the weights of both terms, w = 1 and ``refresh: 500``. They average γ over ten crops of all
    target images at that step, in evaluation mode; here it is the mean over the batches since the last time. On most
    tasks of Office-Home they sharpen it, softmax(10 f). Their discriminator has dropout.
    """

    settings = ("closed_set", "partial")

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        refresh: Annotated[int, Field(ge=1)] = 500,
        sharpness: Annotated[float, Field(gt=0)] = 1.0,
        hidden: Annotated[int, Field(ge=1, le=65536)] = 256,
        discriminator_norm: bool = False,
        reversal_steps: ReversalSteps = None,
        reversal_high: Annotated[float, Field(ge=0)] = 1.0,
        routing: Routing = "joint",
    ) -> None:
        """``sharpness`` multiplies the logits that γ is taken from."""
        super().__init__()
        self.trade_off, self.routing = trade_off, routing
        self.reversal_steps, self.reversal_high = reversal_steps, reversal_high
        self.discriminator = discriminator(model.num_features, (hidden, hidden), discriminator_norm)
        self.classes = ClassWeights(num_classes, refresh, sharpness)

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The weighted losses of the classifier and of the discriminator, whose gradient is reversed."""
        labels = batch.source.labels
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, self.routing)
        self.classes.see(target.logits)
        strength = reversal_strength(progress, self.reversal_steps, self.reversal_high)
        reversed_ = [reverse_gradient(output.features, strength) for output in (source, target)]
        on_source, on_target = judge(self.discriminator, *reversed_)
        terms = {
            "source": F.cross_entropy(source.logits, labels, self.classes.weight),
            "domain": self.trade_off * domain_loss(on_source, on_target, self._relative(labels)),
        }
        metrics = {"domain_accuracy": domain_accuracy(on_source, on_target), "least_weight": self.classes.weight.min()}
        return Loss(terms, metrics)

    def _relative(self, labels: Tensor) -> Tensor:
        """γ_y over the greatest of the batch, ``(N,)``."""
        own = self.classes.weight[labels]
        return own / own.max()

    def after_step(self, model: Classifier) -> None:
        """Count the step of the class weights."""
        self.classes.after_step()
