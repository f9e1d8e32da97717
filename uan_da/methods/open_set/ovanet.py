"""OVANet: beside the classifier, a classifier of each class against all others says what is unknown."""

from typing import Annotated

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier
from uan_da.models.rejection import OneVsAll, Rejection


class OVANet(Method):
    r"""One-vs-all network (Saito & Saenko, ICCV 2021, arXiv:2104.03344).

    .. math:: L = CE(f(x_S), y_S) + ½\,E\big[−\log σ(d_y) + \max_{k ≠ y} −\log σ(−d_k)\big]_S
        + w · E\,\frac{1}{K} \sum_k H(σ(d_k(x_T)))

    where σ(d_k) is the probability of class k in :class:`~uan_da.models.rejection.OneVsAll`, and H the entropy of a
    yes or no. The hardest negative class alone is pushed away; the target becomes sure of each class, or sure that it
    is not of it. What is not of the class that the classifier takes it for is ``unknown``: no threshold is chosen.

    From the paper: w = 0.1. From the authors' code: the weight vectors of the one-vs-all classifier have length one;
    each domain has its own forward. Their logarithms have + 1e-8.
    """

    settings = ("open_set", "universal")
    parallel = True

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 0.1,
        routing: Routing = "separate",
    ) -> None:
        super().__init__()
        self.trade_off, self.routing = trade_off, routing

    @staticmethod
    def rejection(num_features: int, num_classes: int, threshold: float) -> Rejection:
        """The one-vs-all classifier, which has no threshold."""
        return OneVsAll(num_features, num_classes)

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The classifier's loss, and the one-vs-all classifier's on either domain."""
        one_vs_all, labels = model.rejection, batch.source.labels
        assert isinstance(one_vs_all, OneVsAll)
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, self.routing)
        on_source = one_vs_all_loss(one_vs_all.margins(source.features), labels)
        on_target = one_vs_all_entropy(one_vs_all.margins(target.features))
        return Loss(
            {
                "source": F.cross_entropy(source.logits, labels),
                "one_vs_all": on_source,
                "entropy": self.trade_off * on_target,
            }
        )


def one_vs_all_loss(margins: Tensor, labels: Tensor) -> Tensor:
    """½ E[−log σ(d_y) + max_{k ≠ y} −log σ(−d_k)] of margins d ``(N, K)``; of one class alone, the first half."""
    own = F.one_hot(labels, margins.shape[1]).bool()
    positive = F.softplus(-margins[own])
    hardest = F.softplus(margins).masked_fill(own, 0.0).max(1).values
    return 0.5 * (positive + hardest).mean()


def one_vs_all_entropy(margins: Tensor) -> Tensor:
    """The mean entropy in nats of σ(d), over images and classes, of margins d ``(N, K)``."""
    p = margins.sigmoid()
    return (p * F.softplus(-margins) + (1 - p) * F.softplus(margins)).mean()
