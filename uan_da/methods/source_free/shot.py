"""SHOT: the source's head stays, and the features of the target move to where it is sure and diverse."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.methods.entropy import entropy, entropy_of_mean
from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.source_free.descent import Descent, before_head
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import domain_context


class SHOT(SourceFreeMethod):
    r"""Source hypothesis transfer (Liang, Hu, Feng, ICML 2020, arXiv:2002.08546).

    .. math:: L = \frac{1}{B} \sum_i H(p_i) - H\Big(\frac{1}{B} \sum_i p_i\Big) + β · CE(p, ŷ)

    The head is frozen; all before it moves, by :class:`~uan_da.methods.source_free.descent.Descent`. The pseudo-labels
    ŷ of :func:`pseudo_labels` are made anew for each epoch, by the model in evaluation mode; training sees the recipe's
    weak view. In the first ``information_epochs`` epochs β is 0.

    Defaults are those of the authors' code for objects: β = 0.3, 15 epochs, and a tenth of the rate for the backbone,
    which was pretrained, the whole for the bottleneck. For digits, whose networks start from nothing, they have
    β = 0.1, 30 epochs and the whole rate for both; for VisDA-2017 the first epoch (but its last step) without
    pseudo-labels, ``information_epochs: 1``; for targets that lack classes of the source ``diversity: false``, which
    leaves out the second entropy, and ``fewest: 10``. How the source is trained (theirs has label smoothing, a
    bottleneck with BatchNorm, a weight-normalised head) is the run's own affair. The authors add 1e-5 inside
    logarithms; here the entropies are exact.
    """

    settings = ("closed_set", "partial")

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 0.3,
        epochs: Annotated[int, Field(ge=1)] = 15,
        batch: Annotated[int, Field(ge=2)] = 64,
        lr: Annotated[float, Field(gt=0)] = 1e-2,
        backbone_lr: Annotated[float, Field(gt=0)] = 0.1,
        information_epochs: Annotated[int, Field(ge=0)] = 0,
        diversity: bool = True,
        fewest: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        """``trade_off`` is β; ``backbone_lr`` multiplies the rate of the backbone; a class that ``fewest`` images, or
        fewer, are taken for is nobody's pseudo-label."""
        super().__init__()
        self.trade_off, self.epochs, self.batch = trade_off, epochs, batch
        self.lr, self.backbone_lr, self.information_epochs = lr, backbone_lr, information_epochs
        self.diversity, self.fewest = diversity, fewest

    def adapt(self, model: Classifier, target: Target) -> None:
        """Train all but the head on the target."""
        training = model.training
        total = self.epochs * target.number_of_batches(self.batch)
        descent = Descent(before_head(model, self.backbone_lr), self.lr, total)
        for epoch in range(self.epochs):
            features, logits = target.predict(model)
            labels = pseudo_labels(features, logits.softmax(1), self.fewest).to(target.device)
            trade_off = 0.0 if epoch < self.information_epochs else self.trade_off
            model.train()
            model.head.eval()
            for indices, images in target.batches(self.batch, epoch, augmented=True):
                with domain_context(model, target.domain):
                    output = model(images)
                descent.step(self.loss(output.logits, labels[indices.to(target.device)], trade_off))
        descent.end()
        model.train(training)

    def loss(self, logits: Tensor, labels: Tensor, trade_off: float) -> Tensor:
        """The loss of a batch: logits ``(B, C)``, pseudo-labels ``(B,)``, and β."""
        information = entropy(logits).mean() - (entropy_of_mean(logits) if self.diversity else 0.0)
        return information + trade_off * F.cross_entropy(logits, labels)


def pseudo_labels(features: Tensor, probabilities: Tensor, fewest: int = 0) -> Tensor:
    r"""Labels of the target from its own clusters: features ``(N, F)``, probabilities ``(N, C)`` to labels ``(N,)``.

    With a 1 appended to each feature and the result normalised to length one, f̂, twice: the classes' centroids, and to
    each image the nearest of them by cosine.

    .. math:: c_k = \frac{\sum_i w_{ik} f̂_i}{\sum_i w_{ik}}, \quad ŷ_i = \arg\max_k \cos(f̂_i, c_k)

    where w are the probabilities at first and then the labels so found, one-hot. A class that is the most probable
    (then: the nearest) of ``fewest`` images or fewer has no centroid, unless that is so of all classes.
    """
    unit = F.normalize(torch.cat([features, torch.ones_like(features[:, :1])], 1), dim=1)
    labels, weights = probabilities.argmax(1), probabilities
    for _ in range(2):
        found, count = torch.unique(labels, return_counts=True)
        present = found[count > fewest] if bool((count > fewest).any()) else found
        centroids = F.normalize(weights[:, present].T @ unit, dim=1)  # a cosine does not need the mean's denominator
        labels = present[(unit @ centroids.T).argmax(1)]
        weights = F.one_hot(labels, probabilities.shape[1]).to(unit.dtype)
    return labels
