"""M3SDA: features whose moments agree in all domains, and a pair of classifiers for each source."""

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.adversarial.mcd import discrepancy
from uan_da.methods.method import Loss, Method, Phase, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier
from uan_da.models.head import SourceHeads

MOMENTUM = 0.99
"""Of the running accuracy of a classifier on the other sources."""


class M3SDA(Method):
    r"""Moment matching for multi-source domain adaptation, M³SDA-β (Peng et al., ICCV 2019, arXiv:1812.01754).

    For sources i = 1 … S, with features g and a pair of classifiers h_i (the model's) and h′_i,

    .. math:: A = \frac{1}{S} \sum_i \big[CE(h_i(g(x_i)), y_i) + CE(h'_i(g(x_i)), y_i)\big], \quad
        D = \frac{1}{S} \sum_i E \frac{1}{C} \sum_k |p_{i,k}(x_T) − p'_{i,k}(x_T)|

    .. math:: M = \sum_{m=1}^{2} \Big[\frac{1}{S} \sum_i ‖E\,g(x_i)^m − E\,g(x_T)^m‖
        + \binom{S}{2}^{-1} \sum_{i<j} ‖E\,g(x_i)^m − E\,g(x_j)^m‖\Big]

    three steps on each batch: everything minimises A + λM, the classifiers minimise A − D, the features minimise D,
    ``num_times`` times.

    The network predicts with the weighted mean of the probabilities of all h_i. The paper's weights are the accuracies
    on the target of networks that were trained on one source each, which takes labels of the target. Here the weight
    of h_i is its accuracy on the training images of the other sources, a running average over the batches; the weights
    are scaled to the sum 1.

    From the paper: the steps and M. From the authors' code: λ, four times and a forward for each domain. That code has
    one pair of classifiers for all sources, and a sum of five moments, of which it centres all but the first. From
    Dassl: the means over the sources; its M has variances in place of second moments, is a mean over all pairs, and
    has λ = 0.5.
    """

    head_per_source: ClassVar[bool] = True
    needs: ClassVar[str] = "several sources"

    accuracy: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 5e-4,
        num_times: Annotated[int, Field(ge=1)] = 4,
        routing: Routing = "separate",
    ) -> None:
        """``trade_off`` is λ."""
        super().__init__()
        self.trade_off, self.num_times, self.routing = trade_off, num_times, routing
        count = len(_heads(model))
        self.second_heads = nn.ModuleList(model.new_head() for _ in range(count))
        self.register_buffer("accuracy", torch.ones(count))

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """All; the classifiers; the features, as often as the recipe says."""
        features = [model.input_norm, model.backbone, model.bottleneck]
        heads = [model.head, self.second_heads]
        return [
            Phase("all_", self._match, [*features, *heads]),
            Phase("heads_", self._disagree, heads),
            Phase("features_", self._agree, features, self.num_times),
        ]

    def pretrain_loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """A: each source by its own classifiers."""
        sources = self._sources(model, batch)
        return Loss({"source": self._supervised(model, sources, self._features(model, sources))})

    def _match(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        sources = self._sources(model, batch)
        *features, target = self._features(model, [*sources, batch.target])
        self._follow_accuracy(model, sources, features)
        terms = {
            "source": self._supervised(model, sources, features),
            "moments": self.trade_off * moment_distance(features, target),
        }
        return Loss(terms, {"least_weight": self.weights.min()})

    def _disagree(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        sources = self._sources(model, batch)
        *features, target = self._features(model, [*sources, batch.target])
        supervised = self._supervised(model, sources, features)
        return Loss({"source": supervised, "discrepancy": -self._discrepancy(model, target)})

    def _agree(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        sides = [batch.target] if self.routing == "separate" else [*self._sources(model, batch), batch.target]
        return Loss({"discrepancy": self._discrepancy(model, self._features(model, sides)[-1])})

    @property
    def weights(self) -> Tensor:
        """Of the classifiers, ``(S,)``, with the sum 1."""
        return self.accuracy / self.accuracy.sum()

    def after_step(self, model: Classifier) -> None:
        """The network predicts with the new weights."""
        assert isinstance(model.head, SourceHeads)
        model.head.weights.copy_(self.weights)

    def _sources(self, model: Classifier, batch: DomainBatch) -> list[DomainImages]:
        return [batch.source[batch.source.domain == number] for number in range(len(_heads(model)))]

    def _features(self, model: Classifier, sides: Sequence[DomainImages]) -> list[Tensor]:
        outputs = forward(model, [side.weak for side in sides], [side.domain for side in sides], self.routing)
        return [output.features for output in outputs]

    def _supervised(self, model: Classifier, sources: Sequence[DomainImages], features: Sequence[Tensor]) -> Tensor:
        losses = [
            F.cross_entropy(head(given), source.labels)
            for heads in (_heads(model), self.second_heads)
            for head, given, source in zip(heads, features, sources, strict=True)
        ]
        return torch.stack(losses).sum() / len(sources)

    def _discrepancy(self, model: Classifier, target: Tensor) -> Tensor:
        pairs = zip(_heads(model), self.second_heads, strict=True)
        return torch.stack([discrepancy(first(target), second(target)) for first, second in pairs]).mean()

    @torch.no_grad()
    def _follow_accuracy(self, model: Classifier, sources: Sequence[DomainImages], features: Sequence[Tensor]) -> None:
        """Each classifier's accuracy on the other sources' images of the batch enters the running average."""
        for number, head in enumerate(_heads(model)):
            right = [
                head(given).argmax(1) == source.labels
                for other, (given, source) in enumerate(zip(features, sources, strict=True))
                if other != number
            ]
            self.accuracy[number].lerp_(torch.cat(right).to(self.accuracy).mean(), 1 - MOMENTUM)


def moment_distance(sources: Sequence[Tensor], target: Tensor) -> Tensor:
    """M of the features ``(N_i, F)`` of two or more sources and ``(N_T, F)`` of the target."""
    total = target.new_zeros(())
    for power in (1, 2):
        means, mean = [(features**power).mean(0) for features in sources], (target**power).mean(0)
        to_target = [torch.linalg.vector_norm(each - mean) for each in means]
        between = [torch.linalg.vector_norm(one - other) for one, other in combinations(means, 2)]
        total = total + torch.stack(to_target).mean() + torch.stack(between).mean()
    return total


def _heads(model: Classifier) -> nn.ModuleList:
    assert isinstance(model.head, SourceHeads), "the recipe's task has several sources"
    return model.head.heads
