"""DeepJDOT: source and target samples are paired by optimal transport; pairs get alike features and one label."""

from typing import Annotated, Any, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.errors import UserError
from uan_da.methods.discrepancy.kernels import squared_distances
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.models.classifier import Classifier, Output
from uan_da.norms.forward import widened


class DeepJDOT(TransferMethod):
    r"""Deep joint distribution optimal transport (Damodaran et al., ECCV 2018, arXiv:1803.10081).

    .. math:: L = CE(f(x_S), y_S) + \sum_{ij} γ_{ij} c_{ij}, \qquad γ = \arg\min_Γ \sum_{ij} Γ_{ij} c_{ij}

    .. math:: c_{ij} = α ‖g(x_{S,i}) − g(x_{T,j})‖² + λ · CE(f(x_{T,j}), y_{S,i})

    where g are the features and γ is the coupling of the batch, with rows that sum to 1/n_S and columns that sum to
    1/n_T: optimal for the present network, exact (no entropy term), and without gradient. α is ``feature_weight``, λ is
    ``label_weight``.

    From the paper: the formula. From the authors' code: exact transport, and the weights of its SVHN→MNIST script. That
    code differs from the formula in the cost that γ minimises, which has the squared distance of the one-hot label and
    the class probabilities in place of the cross-entropy. Its batches are large, 500 images, and the source's have as
    many of each class: transport pairs all that a batch has, whatever its classes.

    The coupling is found on the CPU; on a GPU each step waits for it.

    Raises:
        UserError: POT is not installed.
    """

    needs: ClassVar[str] = "target images, and the package POT"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        feature_weight: Annotated[float, Field(ge=0)] = 0.001,
        label_weight: Annotated[float, Field(ge=0)] = 0.0001,
    ) -> None:
        super().__init__()
        try:
            from ot import emd  # takes seconds, and is an optional extra
        except ImportError as error:
            raise UserError(f'method deepjdot: {error}. Install it: pip install "uan-da[ot]"') from error
        self.emd: Any = emd
        self.feature_weight, self.label_weight = feature_weight, label_weight

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The cost of transport, in two terms: that of the features and that of the labels, weighted."""
        features = self.feature_weight * squared_distances(source.features, target.features)
        classes = -self.label_weight * widened(target.logits).log_softmax(1).T[labels]
        coupling = self._coupling(features + classes)
        return Loss({"transport_features": (coupling * features).sum(), "transport_labels": (coupling * classes).sum()})

    def _coupling(self, cost: Tensor) -> Tensor:
        """The optimal coupling ``(n_S, n_T)`` of uniform weights for a cost of that shape."""
        coupling = self.emd([], [], cost.detach().cpu().double().numpy())  # no weights: uniform
        return torch.as_tensor(coupling).to(cost)
