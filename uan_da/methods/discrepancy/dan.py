"""DAN: features whose distributions have the same mean in the space of several Gaussian kernels."""

from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor

from uan_da.methods.discrepancy.kernels import Estimator, mmd, multi_gaussian
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier, Output


class DAN(TransferMethod):
    r"""Deep adaptation network (Long et al., ICML 2015, arXiv:1502.02791).

    .. math:: L = CE(f(x_S), y_S) + w · ‖E[φ(g(x_S))] − E[φ(g(x_T))]‖²

    where g are the features and φ is the feature map of a sum of Gaussian kernels; the squared distance of the means,
    the MMD, is estimated by :func:`~uan_da.methods.discrepancy.kernels.mmd` from neighbours (``linear``) or from
    all pairs (``quadratic``).

    From the paper: the linear estimator. From its group's later code (Xlearn, TLLib): one layer of features, where the
    paper aligns all fully connected ones; a plain sum of kernels whose variances are 2^k times the mean squared
    distance, k = −3…1, where the paper learns their weights; each sample in two pairs, where the paper has it in one;
    w = 1.
    """

    needs: ClassVar[str] = "target images"
    routing: ClassVar[Routing] = "joint"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 1.0,
        estimator: Estimator = "linear",
    ) -> None:
        super().__init__()
        self.trade_off, self.estimator = trade_off, estimator

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The MMD of the features, weighted."""
        kernel = multi_gaussian(torch.cat([source.features, target.features]))
        return Loss({"mmd": self.trade_off * mmd(kernel, len(source.features), self.estimator)})
