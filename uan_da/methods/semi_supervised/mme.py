"""MME: the classifier moves to where it is unsure of the target, and the features to where it is sure."""

from collections.abc import Sequence
from typing import Annotated

from pydantic import Field

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.gradient_reversal import reverse_gradient
from uan_da.methods.bounds import labelled_loss
from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Method, Phase, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier


class MME(Method):
    r"""Minimax entropy (Saito et al., ICCV 2019, arXiv:1904.06487).

    .. math:: A = CE(f(x), y) \text{ over source and labelled target}, \quad B = −w · E\,H(softmax\, h(r(g(x_T))))

    two steps on each batch: everything minimises A, then everything minimises B, where r reverses the gradient between
    the features g and the head h: so the head maximises the entropy of the unlabelled target, and the features minimise
    it.

    From the authors' code: w = 0.1, two steps, the cosine classifier ``head: {cosine: 0.05}`` behind a hidden layer,
    which they reverse the gradient behind, and no gradient through the length of its weights. Their logarithms have
    + 1e-5.
    """

    settings = ("semi_supervised",)
    parallel = True

    def __init__(self, model: Classifier, num_classes: int, *, trade_off: Annotated[float, Field(ge=0)] = 0.1) -> None:
        super().__init__()
        self.trade_off = trade_off

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """A and B."""
        return [Phase("", self._classify), Phase("", self._minimax)]

    def _classify(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        return Loss({"labelled": labelled_loss(model, batch)})

    def _minimax(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        (target,) = forward(model, [batch.target.weak], [batch.target.domain], "joint")
        logits = model.head(reverse_gradient(target.features, 1.0))
        return Loss({"entropy": -self.trade_off * entropy(logits).mean()})
