"""T3A: prototypes of the classes follow the stream."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.errors import UserError
from uan_da.methods.entropy import entropy
from uan_da.models.classifier import Classifier
from uan_da.streams.method import StreamMethod, Surroundings


class T3A(StreamMethod):
    r"""Test-time classifier adjustment (Iwasawa & Matsuo, NeurIPS 2021).

    Each class has a set of features, its support, which starts with the class's row of the linear head. The feature of
    each image joins the support of the class that the head predicts. Of each support the ``filter`` features of least
    entropy stay. The prediction for a feature z is z·c_k, where c_k is the sum of support k's features, each of length
    one, brought to length one.
    """

    updates: ClassVar[str] = "prototypes of the classes"
    supports: Tensor
    labels: Tensor
    entropies: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        surroundings: Surroundings,
        *,
        filter: Annotated[int, Field(ge=1)] = 20,
    ) -> None:
        super().__init__(model, num_classes, surroundings)
        if not isinstance(model.head, nn.Linear):
            raise UserError("t3a replaces a linear head by prototypes, and this network's head is not one layer")
        self.filter = filter
        weight = model.head.weight.detach()
        logits = model.head(weight)
        self.register_buffer("supports", weight.clone())
        self.register_buffer("labels", logits.argmax(1))
        self.register_buffer("entropies", entropy(logits))

    def predict(self, pixels: Tensor) -> Tensor:
        """Add the batch to the support sets, then predict it."""
        features, logits = self.forward_model(self.surroundings.seen(pixels))
        self.supports = torch.cat([self.supports, features])
        self.labels = torch.cat([self.labels, logits.argmax(1)])
        self.entropies = torch.cat([self.entropies, entropy(logits)])
        self._filter()
        members = F.one_hot(self.labels, self.num_classes).to(features)
        prototypes = F.normalize(members.T @ F.normalize(self.supports, dim=1), dim=1)
        return features @ prototypes.T

    def _filter(self) -> None:
        """Keep the surest of each class."""
        order = self.entropies.argsort(stable=True)
        kept = torch.cat([order[self.labels[order] == label][: self.filter] for label in range(self.num_classes)])
        self.supports, self.labels, self.entropies = self.supports[kept], self.labels[kept], self.entropies[kept]
