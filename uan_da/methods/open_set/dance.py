"""DANCE: each target image moves to a neighbour or to a class, and its entropy away from the border of unknown."""

import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier


class DANCE(Method):
    r"""Domain adaptive neighbourhood clustering with entropy separation (Saito et al., NeurIPS 2020, arXiv:2002.07953).

    .. math:: L = CE(f(x_S), y_S) + w\,\big[E\,H(q_T) − E \max(|H(p_T) − ½\log K|, m)\big], \quad
        q_i = softmax\big[f(x_i);\ \hat g_i · M / T;\ (\hat g_i · \hat g_j / T)_j\big]

    where p are the class probabilities, ĝ the features of length one and M the newest ĝ of every target image, without
    gradient. An image is no neighbour of itself: its own similarities are −1/T, and so are those to the memory of all
    images of the batch, whose ĝ are in the last part. An image of high entropy is ``unknown``
    (:class:`~uan_da.models.rejection.EntropyRejection`), which the second term makes either clear or clearly not.

    From the authors' code: w = 0.05 for both terms, m = 0.5, T = 0.05, a forward for each domain, and the cosine
    classifier, ``head: {cosine: 0.05}``, without which f(x) and the similarities have not the same scale. The memory
    starts at zero, as theirs. Their logarithms have + 1e-5.
    """

    settings = ("closed_set", "partial", "open_set", "universal")

    memory: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 0.05,
        margin: Annotated[float, Field(ge=0)] = 0.5,
        temperature: Annotated[float, Field(gt=0)] = 0.05,
        routing: Routing = "separate",
    ) -> None:
        super().__init__()
        self.trade_off, self.margin, self.temperature, self.routing = trade_off, margin, temperature, routing
        self.border = 0.5 * math.log(num_classes)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def prepare(self, model: Classifier, target_images: int) -> None:
        """The memory: the features ``(N, F)`` of all target images."""
        self.register_buffer("memory", next(model.parameters()).new_zeros(target_images, model.num_features))

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The source's cross-entropy, the neighbourhood's entropy and the separation of the target's entropies."""
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, self.routing)
        unit, index = F.normalize(target.features), batch.target.index
        self._seen.append((index, unit.detach()))
        similar = similarities(unit, self.memory, index, self.temperature)
        neighbourhood = entropy(torch.cat([target.logits, similar], 1)).mean()
        of_classes = entropy(target.logits)
        return Loss(
            {
                "source": F.cross_entropy(source.logits, batch.source.labels),
                "neighbourhood": self.trade_off * neighbourhood,
                "separation": self.trade_off * separation(of_classes, self.border, self.margin),
            },
            {"rejected": (of_classes.detach() > self.border).float().mean()},
        )

    def after_step(self, model: Classifier) -> None:
        """Remember the features of the batch."""
        for index, unit in self._seen:
            self.memory[index] = unit
        self._seen.clear()


def similarities(unit: Tensor, memory: Tensor, index: Tensor, temperature: float) -> Tensor:
    """Of features of length one ``(B, F)`` to the memory ``(N, F)`` and to each other, over the temperature:
    ``(B, N + B)``. Those of an image to itself, and to the memory of the batch's images at ``index`` ``(B,)``, are the
    least that there are."""
    to_memory = (unit @ memory.T / temperature).index_fill(1, index, -1 / temperature)
    itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
    to_batch = (unit @ unit.T / temperature).masked_fill(itself, -1 / temperature)
    return torch.cat([to_memory, to_batch], 1)


def separation(entropies: Tensor, border: float, margin: float) -> Tensor:
    """−E max(|H − ρ|, m) of entropies H ``(N,)``, the border ρ and the margin m: no gradient where H is near ρ."""
    return -(entropies - border).abs().clamp_min(margin).mean()
