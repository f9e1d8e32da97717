"""ATDOC: pseudo-labels from a second classifier, which knows the target alone: its neighbours or its centroids."""

from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier, Output
from uan_da.norms import domain_context
from uan_da.seeding import generator

CENTROID_MOMENTUM = 0.1


class ATDOC(TransferMethod):
    r"""Auxiliary target domain-oriented classifier (Liang, Hu, Feng, CVPR 2021, arXiv:2007.04171).

    .. math:: L = CE(f(x_S), y_S) + w\,t · \frac{\sum_i ω_i\, CE(f(x_T)_i, ŷ_i)}{\sum_i ω_i}

    after the part t of the training. In ``neighbors`` (NA) a memory keeps a feature of length one and sharpened
    probabilities q of every target image. ŷ is the class of the greatest mean q over the ``neighbors`` images whose
    features have the largest product with image i's (itself left out), and ω that mean. In ``centroids`` (NC) ŷ is the
    class of the nearest centroid by cosine, and ω = 1.

    After each step the images go through the network once more, in evaluation mode. Their features and
    q_ik = p_ik² / Σ_j p_jk² over the batch enter the memory; the centroids move by a tenth to the mean feature of each
    predicted class, to zero for a class that nobody is given, which leaves its direction. The memory starts with random
    features and q = 1/C. No gradient reaches ŷ and ω.

    From the authors' code: 5 neighbours, w = 0.2 for NA and 0.1 for NC on Office-Home, a forward for each domain. They
    smooth the source's labels by 0.1; here they are as they are. They add it to CDAN+E, ``cdan`` with ``method.then``.
    """

    on_predictions: ClassVar[bool] = True
    routing: ClassVar[Routing] = "separate"

    features: Tensor
    probabilities: Tensor

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        classifier: Literal["neighbors", "centroids"] = "neighbors",
        trade_off: Annotated[float, Field(ge=0)] = 0.2,
        neighbors: Annotated[int, Field(ge=1)] = 5,
    ) -> None:
        """``classifier`` makes the pseudo-labels."""
        super().__init__()
        self.classifier, self.trade_off, self.neighbors = classifier, trade_off, neighbors
        self.num_classes = num_classes
        self.seed = int(torch.randint(2**31, ()))
        self._seen: dict[int, DomainImages] = {}

    def prepare(self, model: Classifier, target_images: int) -> None:
        """The memory of the target, features ``(N, F)`` and probabilities ``(N, C)``, or the centroids ``(C, F)``."""
        rows = target_images if self.classifier == "neighbors" else self.num_classes
        random = torch.rand(rows, model.num_features, generator=generator(self.seed, "atdoc"))
        like = next(model.parameters())
        self.register_buffer("features", F.normalize(random, dim=1).to(like))
        if self.classifier == "neighbors":
            even = like.new_full((rows, self.num_classes), 1 / self.num_classes)
            self.register_buffer("probabilities", even.detach())

    def terms(self, model: Classifier, batch: DomainBatch, source: Output, target: Output, progress: Progress) -> Loss:
        """The weighted cross-entropy of the target's predictions and its pseudo-labels."""
        self._seen[id(batch)] = batch.target  # SDAT reads a batch twice
        with torch.no_grad():
            labels, weight = self._labels(target.features, batch.target.index)
        losses = F.cross_entropy(target.logits, labels, reduction="none")
        loss = (weight * losses).sum() / weight.sum()
        agreement = (target.logits.argmax(1) == labels).to(loss.dtype).mean()
        return Loss({"pseudo_label": self.trade_off * progress.part * loss}, {"agreement": agreement})

    def _labels(self, features: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Pseudo-labels and their weights, ``(B,)`` each, of features ``(B, F)``; ``index`` is the images' own."""
        if self.classifier == "centroids":
            labels = (features @ F.normalize(self.features, dim=1).T).argmax(1)
            return labels, torch.ones_like(features[:, 0])
        similarity = (features @ self.features.T).scatter(1, index[:, None], -torch.inf)
        near = similarity.topk(max(1, min(self.neighbors, len(self.features) - 1))).indices
        weight, labels = self.probabilities[near].mean(1).max(1)
        return labels, weight

    @torch.no_grad()
    def after_step(self, model: Classifier) -> None:
        """The memory takes over what the network now says of the batch."""
        training = model.training
        model.eval()
        for images in self._seen.values():
            with domain_context(model, images.domain):
                features, logits = model(images.weak)
            self._remember(features, logits, images.index)
        self._seen.clear()
        model.train(training)

    def _remember(self, features: Tensor, logits: Tensor, index: Tensor) -> None:
        if self.classifier == "centroids":
            given = F.one_hot(logits.argmax(1), self.num_classes).to(features)
            means = given.T @ features / given.sum(0).clamp_min(1)[:, None]
            self.features.lerp_(means, CENTROID_MOMENTUM)
        else:
            square = logits.softmax(1).square()
            self.features[index] = F.normalize(features, dim=1)
            self.probabilities[index] = square / square.sum(0).clamp_min(torch.finfo(square.dtype).tiny)
