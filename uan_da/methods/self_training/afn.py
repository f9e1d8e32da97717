"""Adaptive feature norm: the features of both domains grow longer, a step at a time."""

from typing import Annotated, ClassVar

from pydantic import Field
from torch import Tensor

from uan_da.methods.entropy import entropy
from uan_da.methods.method import Loss, Progress, TransferMethod
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier, Output


class AFN(TransferMethod):
    r"""Stepwise adaptive feature norm (Xu et al., ICCV 2019, arXiv:1811.07456).

    .. math:: L = CE(f(x_S), y_S) + w_n · \sum_{D ∈ \{S, T\}} \frac{1}{N_D} \sum_i \big(‖h_i‖ − (‖\bar h_i‖ + Δ)\big)^2
        + w_e · \frac{1}{N_T} \sum_i H(softmax f(x_T)_i)

    where h are the features and h̄ the same without gradient: each step lengthens them by the same pull, and the norm
    term itself is always 2·w_n·Δ² (the metrics have the norms). The paper averages over both domains at once; the sum
    of two means, the weights 0.05 and 0.1 and Δ = 1 are TLLib's for Office-31, after the authors' code. One forward per
    domain, as in both. Their bottleneck (Linear-BatchNorm-ReLU to 1000, and a dropout that keeps the norm) is the
    recipe's: ``bottleneck: {features: 1000, dropout: 0.5, dropout_keeps: norm}``.
    """

    settings = ("closed_set", "partial")
    routing: ClassVar[Routing] = "separate"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        norm_weight: Annotated[float, Field(ge=0)] = 0.05,
        entropy_weight: Annotated[float, Field(ge=0)] = 0.1,
        step: Annotated[float, Field(gt=0)] = 1.0,
    ) -> None:
        super().__init__()
        self.norm_weight, self.entropy_weight, self.step = norm_weight, entropy_weight, step

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The weighted pull on the norms of both domains' features, and the weighted entropy of the target."""
        source_norm, target_norm = source.features.norm(dim=1), target.features.norm(dim=1)
        terms = {
            "norm": self.norm_weight * (self._pull(source_norm) + self._pull(target_norm)),
            "entropy": self.entropy_weight * entropy(target.logits).mean(),
        }
        return Loss(terms, {"source_norm": source_norm.mean(), "target_norm": target_norm.mean()})

    def _pull(self, norm: Tensor) -> Tensor:
        return (norm - (norm.detach() + self.step)).square().mean()
