"""ADDA: an encoder of its own for the target, moved until a discriminator takes its features for the source's."""

import copy
from collections.abc import Sequence
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.adversarial.discriminator import discriminator, domain_accuracy, domain_loss, judge
from uan_da.methods.method import Loss, Method, Phase, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier
from uan_da.norms import frozen_statistics


class ADDA(Method):
    r"""Adversarial discriminative domain adaptation (Tzeng et al., CVPR 2017, arXiv:1702.05464).

    After a pre-training on the source, whose features g_S stay, two steps on each batch:

    1. the discriminator minimises ½[BCE(d(g_S(x_S)), 1) + BCE(d(g_T(x_T)), 0)];
    2. the target's features g_T, which start as g_S, minimise BCE(d(g_T(x_T)), 1).

    The model's head, learned on the source, stays, and the model becomes the target's: source images are classified by
    g_T too. g_S is used as in an evaluation, with its running statistics; g_T sees the target alone, and its running
    statistics follow in the second step.

    From the paper: the losses. From the authors' code: two layers of 500 with ReLU. From TLLib: three epochs on the
    source; its own adversary is one step with a gradient reversal instead of the paper's two.
    """

    pretrain_epochs: ClassVar[int] = 3

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        hidden: Annotated[int, Field(ge=1, le=65536)] = 500,
        discriminator_norm: bool = False,
    ) -> None:
        super().__init__()
        self.source_model = copy.deepcopy(model).requires_grad_(False)
        self.discriminator = discriminator(model.num_features, (hidden, hidden), discriminator_norm)

    def start(self, model: Classifier) -> None:
        """The source's features are those of now, for good."""
        self.source_model.load_state_dict(model.state_dict())

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """The discriminator's step, and that of the target's features."""
        model.head.eval()  # it stays, running statistics included
        encoder = [model.input_norm, model.backbone, model.bottleneck]
        return [
            Phase("discriminator_", self._discriminate, [self.discriminator]),
            Phase("encoder_", self._confuse, encoder),
        ]

    def _discriminate(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        with torch.no_grad(), frozen_statistics(model):
            target = self._target_features(model, batch)
        on_source, on_target = judge(self.discriminator, self._source_features(batch), target)
        accuracy = domain_accuracy(on_source, on_target)
        return Loss({"domain": domain_loss(on_source, on_target)}, {"domain_accuracy": accuracy})

    def _confuse(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        target = self._target_features(model, batch)
        _, on_target = judge(self.discriminator, self._source_features(batch), target)
        return Loss({"domain": -F.logsigmoid(on_target).mean()})

    @torch.no_grad()
    def _source_features(self, batch: DomainBatch) -> Tensor:
        self.source_model.eval()
        return forward(self.source_model, [batch.source.weak], [batch.source.domain], "separate")[0].features

    def _target_features(self, model: Classifier, batch: DomainBatch) -> Tensor:
        return forward(model, [batch.target.weak], [batch.target.domain], "separate")[0].features
