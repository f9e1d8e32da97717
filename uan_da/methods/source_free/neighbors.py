"""Each image of the target and its nearest neighbours: what NRC and AaD share."""

from abc import abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.source_free.descent import Descent, before_head
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import domain_context


class Bank:
    """Features of length one and probabilities of all images of the target, as the network last gave them.

    Args:
        features: ``(N, F)``, of any length.
        probabilities: ``(N, C)``.
    """

    def __init__(self, features: Tensor, probabilities: Tensor) -> None:
        self.features, self.probabilities = F.normalize(features, dim=1), probabilities.clone()

    def put(self, indices: Tensor, features: Tensor, probabilities: Tensor) -> None:
        """Take over what the network now gives for the images ``indices`` ``(B,)``; no gradient is kept."""
        self.features[indices] = F.normalize(features.detach(), dim=1)
        self.probabilities[indices] = probabilities.detach()

    def neighbors(self, indices: Tensor, count: int) -> Tensor:
        """The nearest of each of the images ``indices`` ``(B,)`` by cosine, nearest first: indices ``(B, K)``.

        No image is its own neighbour. K is ``count``, or N − 1 where there are fewer.
        """
        similarity = self.features[indices] @ self.features.T
        similarity.scatter_(1, indices.unsqueeze(1), -torch.inf)
        return similarity.topk(min(count, len(self.features) - 1)).indices


class NeighborMethod(SourceFreeMethod):
    """A method that pulls each prediction to those of the image's neighbours in a :class:`Bank`.

    All weights move, the head's too, by :class:`~uan_da.methods.source_free.descent.Descent` on batches of the target's
    weak views. The bank starts with the predictions in evaluation mode. Each batch puts its own in before it looks for
    neighbours.
    """

    def __init__(self, epochs: int, batch: int, lr: float, backbone_lr: float) -> None:
        super().__init__()
        self.epochs, self.batch, self.lr, self.backbone_lr = epochs, batch, lr, backbone_lr

    def adapt(self, model: Classifier, target: Target) -> None:
        """Train the network on the target."""
        training = model.training
        parts = [*before_head(model, self.backbone_lr), (model.head, 1.0)]
        descent = Descent(parts, self.lr, self.epochs * target.number_of_batches(self.batch))
        features, logits = (predictions.to(target.device) for predictions in target.predict(model))
        bank = Bank(features, logits.softmax(1))
        model.train()
        for epoch in range(self.epochs):
            for indices, images in target.batches(self.batch, epoch, augmented=True):
                indices = indices.to(target.device)
                with domain_context(model, target.domain):
                    output = model(images)
                bank.put(indices, output.features, output.logits.softmax(1))
                descent.step(self.loss(output.logits, indices, bank, descent.part))
        descent.end()
        model.train(training)

    @abstractmethod
    def loss(self, logits: Tensor, indices: Tensor, bank: Bank, part: float) -> Tensor:
        """The loss of the images ``indices`` ``(B,)``, whose logits are ``(B, C)``, after ``part`` of the training."""


def agreement(p: Tensor, others: Tensor, weights: Tensor | None = None) -> Tensor:
    """Σ_k w_k p·q_k, averaged over the batch: probabilities ``(B, C)``, of others ``(B, K, C)``, weights ``(B, K)``."""
    products = torch.einsum("bc,bkc->bk", p, others)
    return (products if weights is None else weights * products).sum(1).mean()
