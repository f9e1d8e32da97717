"""NRC: each prediction agrees with those of its neighbours, most with those of whom it is a neighbour too."""

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy_of_mean
from uan_da.methods.source_free.neighbors import Bank, NeighborMethod, agreement
from uan_da.models.classifier import Classifier

AFFINITY = 0.1
"""Of a neighbour that does not return it, and of the neighbours' neighbours."""


class NRC(NeighborMethod):
    r"""Neighborhood reciprocity clustering (Yang et al., NeurIPS 2021, arXiv:2110.04202).

    .. math:: L = -\frac{1}{B} \sum_i \sum_{k ∈ N_i} \Big[ A_{ik}\, p_i^T q_k + r \sum_{m ∈ M_k} p_i^T q_m \Big]
        - H\Big(\frac{1}{B} \sum_i p_i\Big), \quad A_{ik} = 1 \text{ if } i ∈ M_k \text{ else } r, \quad r = 0.1

    with the probabilities p of the batch, the ``neighbors`` N_i nearest to image i by the cosine of features, the
    ``expanded`` M_k nearest to its neighbour k, their probabilities q, which have no gradient, and the entropy H. The
    whole network moves, as :class:`~uan_da.methods.source_free.neighbors.NeighborMethod` says.

    From the authors' code: M_k keeps image i, in place of the paper's own term −p_i·q_i. Defaults are those for
    VisDA-2017: 5 and 5 neighbours, 15 epochs, batches of 64, a rate of 1e-3, a tenth of it for the backbone, which was
    pretrained. For Office-Home the authors have 3 and 2 neighbours (5 and 4 in the second half), a constant rate and 40
    epochs.

    Differences: their bank starts with augmented images, here with plain ones; they take the nearest image for the
    image itself, which differs where features are equal; they add 1e-5 inside the logarithm. In their script for
    VisDA-2017 an in-place fill of a shared tensor sets A to r throughout; here, as in the paper and their script for
    Office-Home, a neighbour that returns the image counts 1.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        neighbors: Annotated[int, Field(ge=1)] = 5,
        expanded: Annotated[int, Field(ge=1)] = 5,
        epochs: Annotated[int, Field(ge=1)] = 15,
        batch: Annotated[int, Field(ge=2)] = 64,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        backbone_lr: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        """``expanded`` is the number of each neighbour's own; ``backbone_lr`` multiplies the rate of the backbone."""
        super().__init__(epochs, batch, lr, backbone_lr)
        self.neighbors, self.expanded = neighbors, expanded

    def loss(self, logits: Tensor, indices: Tensor, bank: Bank, part: float) -> Tensor:
        """The loss of a batch."""
        p = logits.softmax(1)
        near = bank.neighbors(indices, self.neighbors)
        expanded = bank.neighbors(near.flatten(), self.expanded).view(*near.shape, -1)
        returned = (expanded == indices[:, None, None]).any(2)
        affinity = torch.full_like(p[:, :1].expand(near.shape), AFFINITY).masked_fill(returned, 1.0)
        close = agreement(p, bank.probabilities[near], affinity)
        far = AFFINITY * agreement(p, bank.probabilities[expanded.flatten(1)])
        return -close - far - entropy_of_mean(logits)
