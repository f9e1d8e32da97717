"""PLUE: pseudo-labels of neighbours, weighted by their certainty, and contrast with images of other classes."""

import copy
import math
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.errors import UserError
from uan_da.methods.entropy import entropy_of_mean
from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.source_free.descent import Descent, before_head
from uan_da.methods.source_free.neighbors import Bank
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier, Output
from uan_da.norms import domain_context

KEYS = 16384
"""The most keys that are kept."""
FOLLOW = 0.001
"""The part of the way that the key network goes to the network in each step."""
WEIGHT_DECAY = 5e-4


class PLUE(SourceFreeMethod):
    r"""Pseudo-labels guided by uncertainty estimation (Litrico et al., CVPR 2023, arXiv:2303.03770).

    .. math:: L = E\big[−e^{−H(\bar p)/\log C} \log(1 − p_{s,\tilde y})\big]
        + E\Big[−\log \frac{e^{q · k/T}}{e^{q · k/T} + \sum_{j ∈ N} e^{q · k_j/T}}\Big] − H(E\,p_w) − H(E\,p_s)

    An image has one weak view w and two strong views s and s′. p̄ is the mean of the probabilities of the ``neighbors``
    images whose features are nearest to those of w by cosine, the image itself being one of them; its greatest class ŷ
    is the pseudo-label. The first term is negative learning: ỹ is a random class other than ŷ, and an image whose
    neighbours disagree counts less. In the second, q are the features of s, k those of s′ from a key network, of length
    one, and k_j the newest keys of other steps. N leaves out the images that had the same pseudo-label as this one in
    any of the last ``history`` epochs. The last two terms are the entropies of the batch's mean probabilities, which
    grow.

    All weights move, by plain SGD with weight decay 5e-4 and a constant rate. The key network starts as the network,
    and its weights follow by 0.001 in each step. Keys and labels start random. The strong view is that of the run's
    recipe, or the weak one where it has none.

    Defaults are those of the authors' code for VisDA-2017; for DomainNet they have 1,000 epochs, batches of 128 and a
    rate of 1e-3. Differences: they keep the epoch that is best by the target's labels, here it is the last. Their
    prediction in that evaluation is the class of p̄, here the network's own. Their 16,384 neighbours are drawn anew for
    each epoch and replaced in their order, here each image has a row of its own. Their entropies have + 1e-5 or
    + 1e-8, and their log(1 − p) ends at 1e-5.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        neighbors: Annotated[int, Field(ge=1)] = 10,
        history: Annotated[int, Field(ge=1)] = 5,
        temperature: Annotated[float, Field(gt=0)] = 0.07,
        epochs: Annotated[int, Field(ge=1)] = 100,
        batch: Annotated[int, Field(ge=2)] = 64,
        lr: Annotated[float, Field(gt=0)] = 1e-2,
    ) -> None:
        """``temperature`` is T."""
        super().__init__()
        self.num_classes, self.neighbors, self.history = num_classes, neighbors, history
        self.temperature, self.epochs, self.batch, self.lr = temperature, epochs, batch, lr

    def adapt(self, model: Classifier, target: Target) -> None:
        """Train the network on the target."""
        if self.num_classes < 2:
            raise UserError("plue learns what an image is not, and the network has one class alone")
        training = model.training
        key_network = copy.deepcopy(model).requires_grad_(False).train()
        total = self.epochs * target.number_of_batches(self.batch)
        parts = [*before_head(model, 1.0), (model.head, 1.0)]
        descent = Descent(parts, self.lr, total, momentum=0.0, weight_decay=WEIGHT_DECAY, decay=0.0)
        keys = Keys(len(target), model.num_features, self.num_classes, self.history, target.device)
        for epoch in range(self.epochs):
            features, logits = (outputs.to(target.device) for outputs in target.predict(model))
            bank = Bank(features, logits.softmax(1))
            model.train()
            for indices, images, (one, other) in target.views(self.batch, epoch):
                indices = indices.to(target.device)
                with domain_context(model, target.domain):
                    weak, strong = model(images), model(one)
                _follow(key_network, model)
                with domain_context(key_network, target.domain), torch.no_grad():
                    key = F.normalize(key_network(other).features)
                refined = refine(weak.features.detach(), bank, self.neighbors)
                descent.step(self.loss(weak, strong, key, refined, keys.features, keys.negatives(indices)))
                keys.put(epoch, indices, key, refined.argmax(1))
                bank.put(indices, weak.features, weak.logits.softmax(1))
        descent.end()
        model.train(training)

    def loss(
        self, weak: Output, strong: Output, key: Tensor, refined: Tensor, others: Tensor, negative: Tensor
    ) -> Tensor:
        """The loss of a batch: the network's outputs on both views, the images' own keys ``(B, F)``, p̄ ``(B, C)``, the
        keys of others ``(K, F)``, and whether each is a negative ``(B, K)``."""
        wrong = another_class(refined.argmax(1), self.num_classes)
        learned = (certainty(refined) * negative_loss(strong.logits, wrong)).mean()
        contrast = contrastive_loss(F.normalize(strong.features), key, others, negative, self.temperature)
        return learned + contrast - entropy_of_mean(weak.logits) - entropy_of_mean(strong.logits)


class Keys:
    """The newest keys ``features`` ``(K, F)``, whose images they are, and the pseudo-labels that each image had.

    Args:
        images: their number. As many keys are kept, at most :data:`KEYS`.
        num_features, num_classes: of the network.
        history: the epochs whose pseudo-labels are kept.
    """

    def __init__(self, images: int, num_features: int, num_classes: int, history: int, device: torch.device) -> None:
        count = min(KEYS, images)
        self.features = F.normalize(torch.randn(count, num_features)).to(device)
        self.owners = torch.randint(images, (count,)).to(device)
        self.labels = torch.randint(num_classes, (images, history)).to(device)
        self.next = 0

    def negatives(self, indices: Tensor) -> Tensor:
        """Which keys are of images that never had the label of the images ``indices`` ``(B,)`` in the same epoch:
        ``(B, K)``."""
        return (self.labels[indices, None] != self.labels[self.owners]).all(2)

    def put(self, epoch: int, indices: Tensor, features: Tensor, labels: Tensor) -> None:
        """Take over the keys ``(B, F)`` and pseudo-labels ``(B,)`` of the images ``indices`` ``(B,)``, in place of the
        oldest."""
        count = len(self.owners)
        rows = torch.arange(self.next, self.next + len(indices), device=indices.device) % count
        self.features[rows], self.owners[rows] = features, indices
        self.labels[indices, epoch % self.labels.shape[1]] = labels
        self.next = (self.next + len(indices)) % count


def refine(features: Tensor, bank: Bank, count: int) -> Tensor:
    """The mean probabilities ``(B, C)`` of the ``count`` images of the bank that are nearest to ``features``
    ``(B, F)`` by cosine."""
    similarity = F.normalize(features) @ bank.features.T
    near = similarity.topk(min(count, len(bank.features))).indices
    return bank.probabilities[near].mean(1)


def certainty(probabilities: Tensor) -> Tensor:
    """exp(−H / log C) ``(B,)`` of probabilities ``(B, C)``: from 1/e, where all classes are even, to 1."""
    entropies: Tensor = torch.special.entr(probabilities).sum(1)
    return (-entropies / math.log(probabilities.shape[1])).exp()


def another_class(labels: Tensor, num_classes: int) -> Tensor:
    """For each label ``(B,)`` one of the other classes, drawn from torch's global generator."""
    return (labels + torch.randint(1, num_classes, labels.shape).to(labels.device)) % num_classes


def negative_loss(logits: Tensor, wrong: Tensor) -> Tensor:
    """−log(1 − p_k) ``(B,)`` of logits ``(B, C)`` for the classes k in ``wrong`` ``(B,)``; finite where p_k is 1."""
    others = F.one_hot(wrong, logits.shape[1]).bool()
    return -logits.log_softmax(1).masked_fill(others, -torch.inf).logsumexp(1)


def contrastive_loss(query: Tensor, key: Tensor, others: Tensor, negative: Tensor, temperature: float) -> Tensor:
    """The cross-entropy of each query ``(B, F)`` with its own key ``(B, F)`` among those of the ``others`` ``(K, F)``
    that ``negative`` ``(B, K)`` allows; all are of length one."""
    own = (query * key).sum(1, keepdim=True)
    rest = (query @ others.T).masked_fill(~negative, -torch.inf)
    return -(torch.cat([own, rest], 1) / temperature).log_softmax(1)[:, 0].mean()


@torch.no_grad()
def _follow(slow: nn.Module, fast: nn.Module) -> None:
    for follower, leader in zip(slow.parameters(), fast.parameters(), strict=True):
        follower.lerp_(leader, FOLLOW)
