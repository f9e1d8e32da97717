"""AaD: each prediction agrees with those of its neighbours, and less and less with those of the batch."""

from typing import Annotated

from pydantic import Field
from torch import Tensor

from uan_da.methods.source_free.neighbors import Bank, NeighborMethod, agreement
from uan_da.models.classifier import Classifier


class AaD(NeighborMethod):
    r"""Attracting and dispersing (Yang et al., NeurIPS 2022, arXiv:2205.04183).

    .. math:: L = \frac{1}{B} \sum_i \Big[ -\sum_{k ∈ N_i} p_i^T q_k
        + λ \sum_{j ≠ i} p_i^T p_j \Big], \quad λ = (1 + 10t)^{−β}

    with the probabilities p of the batch, the ``neighbors`` N_i nearest to image i by the cosine of features, their
    probabilities q, which have no gradient, and the part t of the training that is done. The whole network moves, as
    :class:`~uan_da.methods.source_free.neighbors.NeighborMethod` says.

    Defaults are those of the authors' code for VisDA-2017: 5 neighbours, β = 5 (``decay``), 15 epochs, batches of 64,
    a rate of 1e-3, a tenth of it for the backbone, which was pretrained. Their scripts have 3 neighbours and β = 1 for
    Office-31, and 3 neighbours (2 in the second half) and β = 0 for Office-Home, with a constant rate and 40 epochs.
    Their bank starts with augmented images, here with plain ones; they take the nearest image for the image itself,
    which differs where features are equal.
    """

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        neighbors: Annotated[int, Field(ge=1)] = 5,
        decay: Annotated[float, Field(ge=0)] = 5.0,
        epochs: Annotated[int, Field(ge=1)] = 15,
        batch: Annotated[int, Field(ge=2)] = 64,
        lr: Annotated[float, Field(gt=0)] = 1e-3,
        backbone_lr: Annotated[float, Field(gt=0)] = 0.1,
    ) -> None:
        """``decay`` is β; ``backbone_lr`` multiplies the rate of the backbone."""
        super().__init__(epochs, batch, lr, backbone_lr)
        self.neighbors, self.decay = neighbors, decay

    def loss(self, logits: Tensor, indices: Tensor, bank: Bank, part: float) -> Tensor:
        """The loss of a batch."""
        p = logits.softmax(1)
        near = bank.probabilities[bank.neighbors(indices, self.neighbors)]
        weight: float = (1 + 10 * part) ** -self.decay
        return weight * dispersion(p) - agreement(p, near)


def dispersion(p: Tensor) -> Tensor:
    """Σ_{j ≠ i} p_i·p_j, averaged over the images i of a batch of probabilities ``(B, C)``; 0 for one image alone."""
    return (p.sum(0).square().sum() - p.square().sum()) / len(p)
