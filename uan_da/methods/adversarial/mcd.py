"""MCD: two heads disagree on target samples that the source does not support; the features learn to avoid that."""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Method, Phase, Progress
from uan_da.methods.routing import Pair, Routing, forward_both
from uan_da.models.classifier import Classifier
from uan_da.norms.distributed import log_mean_over_processes


class MCD(Method):
    r"""Maximum classifier discrepancy (Saito et al., CVPR 2018, arXiv:1712.02560).

    With features g, two heads h₁ (the model's) and h₂, p_i = softmax h_i(g(x)) and their mean p̄_i over the target's
    batch,

    .. math:: S = \sum_i \big[CE(h_i(g(x_S)), y_S) − \frac{b}{C} \sum_k \log \bar p_{i,k}\big], \quad
        D = w · E \frac{1}{C} \sum_k |p_{1,k}(x_T) − p_{2,k}(x_T)|

    three steps on each batch: (A) everything minimises S, (B) the heads minimise S − D, (C) the features minimise D, K
    times. The prediction is the first head's; TLLib's published figures are of the head that is better on the target's
    test labels.

    From the paper: the steps, D and K = 4. From TLLib, whose figures are the published ones: w = 10 (on the 31 classes
    of Office-31; the authors have 1 on 10), b = 0.01, and both domains in one forward in each step. The authors' code
    has b = 0 and, as ``routing: separate`` does, a forward for each domain, of the target alone in C.
    """

    parallel = True

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 10.0,
        class_balance: Annotated[float, Field(ge=0)] = 0.01,
        num_times: Annotated[int, Field(ge=1)] = 4,
        routing: Routing = "joint",
    ) -> None:
        super().__init__()
        self.trade_off, self.class_balance = trade_off, class_balance
        self.num_times, self.routing = num_times, routing
        self.second_head = model.new_head()

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """A, B, and C as often as the recipe says."""
        features = [model.input_norm, model.backbone, model.bottleneck]
        heads = [model.head, self.second_head]
        return [
            Phase("all_", self._classify, [*features, *heads]),
            Phase("heads_", self._disagree, heads),
            Phase("features_", self._agree, features, self.num_times),
        ]

    def _classify(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        source, target = forward_both(model, self.second_head, [batch.source, batch.target], self.routing)
        return Loss(self._supervised(source, target, batch.source.labels))

    def _disagree(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        source, target = forward_both(model, self.second_head, [batch.source, batch.target], self.routing)
        terms = self._supervised(source, target, batch.source.labels)
        return Loss(terms | {"discrepancy": -self.trade_off * discrepancy(*target)})

    def _agree(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        sides = [batch.target] if self.routing == "separate" else [batch.source, batch.target]
        *_, target = forward_both(model, self.second_head, sides, self.routing)
        return Loss({"discrepancy": self.trade_off * discrepancy(*target)})

    def _supervised(self, source: Pair, target: Pair, labels: Tensor) -> dict[str, Tensor]:
        return {
            "source": F.cross_entropy(source[0], labels) + F.cross_entropy(source[1], labels),
            "balance": self.class_balance * (imbalance(target[0]) + imbalance(target[1])),
        }


def discrepancy(first: Tensor, second: Tensor) -> Tensor:
    """The mean absolute difference of the class probabilities of two logits ``(N, C)``."""
    return (first.softmax(1) - second.softmax(1)).abs().mean()


def imbalance(logits: Tensor) -> Tensor:
    """Cross-entropy of the even distribution and the mean probabilities of ``logits`` ``(N, C)``; at least log C.

    From logits, so that a class that nothing is taken for has a finite loss and a gradient.
    """
    return math.log(len(logits)) - log_mean_over_processes(logits.log_softmax(1).logsumexp(0)).mean()
