"""JAN: features and class probabilities whose joint distributions have the same mean in a kernel's space."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.discrepancy.kernels import Estimator, gaussian, mmd, multi_gaussian, squared_distances
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier, Output

PROBABILITY_SIGMA = 0.92
"""Width of the kernel of class probabilities, which live on one scale whatever the data."""


class JAN(TransferMethod):
    r"""Joint adaptation network (Long et al., ICML 2017, arXiv:1605.06636).

    .. math:: L = CE(f(x_S), y_S) + w · ‖E[φ(g(x_S)) ⊗ ψ(p(x_S))] − E[φ(g(x_T)) ⊗ ψ(p(x_T))]‖²

    where g are the features, p = softmax f the class probabilities, φ and ψ the feature maps of their kernels. The
    squared distance, the joint MMD, is the MMD under the product of the two kernels, estimated by
    :func:`~uan_da.methods.discrepancy.kernels.mmd` from neighbours (``linear``) or from all pairs (``quadratic``).

    From the paper: the formula, whose all pairs include each sample with itself. From its group's later code (TLLib):
    all pairs of two samples, without that bias (TLLib adds 2/(n − 1), which has no gradient); the sum of DAN's five
    Gaussian kernels on the features and one with σ = 0.92 on the probabilities; all pairs, where the paper trains with
    neighbours; w = 1 from the start, where the paper lets it grow as DANN's λ. The paper's adversarial variant, JAN-A,
    is not here.
    """

    needs: ClassVar[str] = "target images"
    routing: ClassVar[Routing] = "joint"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        estimator: Estimator = "quadratic",
    ) -> None:
        super().__init__()
        self.trade_off, self.estimator = trade_off, estimator

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The joint MMD of features and class probabilities, weighted."""
        features = torch.cat([source.features, target.features])
        probabilities = torch.cat([source.logits, target.logits]).softmax(1)
        similar = gaussian(squared_distances(probabilities, probabilities), PROBABILITY_SIGMA**2)
        kernel = multi_gaussian(features) * similar
        return Loss({"jmmd": self.trade_off * mmd(kernel, len(source.features), self.estimator)})
