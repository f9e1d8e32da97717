"""FixMatch: the class that is sure on the weak view is the label of the strong view."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, View
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier, Output


class FixMatch(Method):
    r"""FixMatch (Sohn et al., NeurIPS 2020, arXiv:2001.07685).

    .. math:: L = CE(f(x_{S,w}), y_S) + λ · \frac{1}{N_T} \sum_i 1[\max q_i ≥ τ] · CE(f(x_{T,s})_i, \arg\max q_i),
        \quad q = softmax f(x_{T,w})

    with weak and strong views (w, s); q has no gradient, and images below the threshold count 0 in the mean. The
    paper's unlabelled images are the target, as in TLLib: λ = 1 is the paper's and TLLib's, τ = 0.9 is TLLib's for
    Office-31 (the paper's is 0.95). ``routing`` is ``separate``, TLLib's three forwards (target weak, source, target
    strong: each on its own batch statistics, each updating the running ones, in this order), or ``joint``, the paper's
    one forward of all three. The paper evaluates an average of the weights: ``train.ema: 0.999``.
    """

    views: ClassVar[tuple[View, ...]] = ("weak", "strong")
    needs: ClassVar[str] = "weak and strong views of the target"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.9,
        routing: Routing = "separate",
    ) -> None:
        super().__init__()
        self.trade_off, self.threshold, self.routing = trade_off, threshold, routing

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch; labels of the target are neither needed nor there."""
        weak, source, strong = self._outputs(model, batch)
        confidence, pseudo = weak.logits.detach().softmax(1).max(1)
        mask = (confidence >= self.threshold).to(confidence.dtype)
        on_source = F.cross_entropy(source.logits, batch.source.labels)
        on_target = (mask * F.cross_entropy(strong.logits, pseudo, reduction="none")).mean()
        return Loss({"source": on_source, "target": self.trade_off * on_target}, {"mask": mask.mean()})

    def _outputs(self, model: Classifier, batch: DomainBatch) -> list[Output]:
        """Outputs of target weak, source weak, target strong."""
        source, target = batch.source, batch.target
        images = [target.weak, source.weak, target.strong]
        domains = [target.domain, source.domain, target.domain]
        if self.routing == "joint":
            return forward(model, images, domains, "joint")
        with torch.no_grad():  # alone in its forward, the weak view needs no graph
            weak = forward(model, images[:1], domains[:1], "separate")
        return weak + forward(model, images[1:], domains[1:], "separate")
