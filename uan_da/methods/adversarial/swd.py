"""SWD: two heads disagree on target samples that the source does not support; the features learn to avoid that."""

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Method, Phase, Progress
from uan_da.methods.routing import Pair, Routing, forward_both
from uan_da.models.classifier import Classifier
from uan_da.norms.forward import widened, without_autocast


class SWD(Method):
    r"""Sliced Wasserstein discrepancy (Lee et al., CVPR 2019, arXiv:1903.04064).

    With features g, two heads h₁ (the model's) and h₂, p_i = softmax h_i(g(x)), and on each batch

    .. math:: S = CE(h_1(g(x_S)), y_S) + CE(h_2(g(x_S)), y_S)

    .. math:: D = \frac{1}{nM}\sum_{m=1}^{M} ‖sort(p_1(x_T) θ_m) − sort(p_2(x_T) θ_m)‖²

    for M random directions θ_m of length 1 in the space of classes, three steps: everything minimises S, the heads
    minimise S − D, the features minimise D.

    From the paper: the steps. From the authors' code: M = 128, D as a mean and without a weight, each step once, and
    the prediction of the first head. The network of that code has no normalisation layer, to which it would matter how
    the domains go through; here each step takes both in one forward, so that the statistics of training and of
    evaluation agree, or, with ``routing: separate``, the domains that it needs in one each.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        projections: Annotated[int, Field(ge=1)] = 128,
        routing: Routing = "joint",
    ) -> None:
        super().__init__()
        self.projections, self.routing = projections, routing
        self.second_head = model.new_head()

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """The three steps on one batch."""
        features = [model.input_norm, model.backbone, model.bottleneck]
        heads = [model.head, self.second_head]
        return [
            Phase("all_", self._classify, [*features, *heads]),
            Phase("heads_", self._disagree, heads),
            Phase("features_", self._agree, features),
        ]

    def _classify(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        sides = [batch.source] if self.routing == "separate" else [batch.source, batch.target]
        source, *_ = forward_both(model, self.second_head, sides, self.routing)
        return Loss({"source": _cross_entropy(source, batch.source.labels)})

    def _disagree(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        source, target = forward_both(model, self.second_head, [batch.source, batch.target], self.routing)
        return Loss({"source": _cross_entropy(source, batch.source.labels), "discrepancy": -self._discrepancy(target)})

    def _agree(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        sides = [batch.target] if self.routing == "separate" else [batch.source, batch.target]
        *_, target = forward_both(model, self.second_head, sides, self.routing)
        return Loss({"discrepancy": self._discrepancy(target)})

    def _discrepancy(self, logits: Pair) -> Tensor:
        first, second = (widened(each).softmax(1) for each in logits)
        return sliced_wasserstein(first, second, self.projections)


def _cross_entropy(logits: Pair, labels: Tensor) -> Tensor:
    return F.cross_entropy(logits[0], labels) + F.cross_entropy(logits[1], labels)


def sliced_wasserstein(p: Tensor, q: Tensor, projections: int) -> Tensor:
    """The mean squared distance of ``p`` and ``q``, both ``(N, d)``, along random directions, samples paired by rank.

    In one dimension that pairing is the optimal transport: this is the squared 2-Wasserstein distance of the
    projections, averaged over ``projections`` directions, which are drawn anew at each call.
    """
    with without_autocast(p):
        p, q = widened(p), widened(q)
        directions = F.normalize(torch.randn(p.shape[1], projections, dtype=p.dtype, device=p.device), dim=0)
        ranked = [(x @ directions).sort(0).values for x in (p, q)]
        return (ranked[0] - ranked[1]).square().mean()
