"""How a network predicts ``unknown``: the logit that stands beside those of the classes it knows."""

import math
from abc import ABC, abstractmethod

from torch import Tensor, nn
from torch.nn import functional as F

THRESHOLD = 0.5


class Rejection(nn.Module, ABC):
    """A rule that gives each image a logit of ``unknown``. The image is rejected where no class has a greater one.

    Its difference to the greatest logit of a class says how strange an image is.
    """

    @abstractmethod
    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """The logit of ``unknown`` ``(N,)`` of features ``(N, F)`` and the logits ``(N, K)`` of the known classes."""


class EntropyRejection(Rejection):
    r"""``unknown`` is what has a high entropy (the rule of DANCE; Saito et al., NeurIPS 2020, arXiv:2002.07953).

    .. math:: u = \max_k z_k + H(p) − t \log K, \quad p = softmax(z)

    with K known classes and the threshold t, ½ in the paper. Of one known class nothing is rejected.
    """

    def __init__(self, threshold: float = THRESHOLD) -> None:
        super().__init__()
        self.threshold = threshold

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """The logit of ``unknown`` ``(N,)``."""
        log_p = logits.log_softmax(1)
        entropy = -(log_p.exp() * log_p).sum(1)
        return logits.amax(1) + entropy - self.threshold * math.log(logits.shape[1])


class OneVsAll(Rejection):
    r"""Each known class has two logits, of being the class and of not being it (the open-set classifier of OVANet;
    Saito & Saenko, ICCV 2021, arXiv:2104.03344).

    .. math:: u = \max_k z_k − d_{\hat k}, \quad d_k = (w^+_k − w^-_k) · g, \quad \hat k = \arg\max_k z_k

    with features g and weights w of length one: ``unknown`` is what is more probably not of the class that is nearest.
    """

    def __init__(self, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.positive = nn.Linear(num_features, num_classes, bias=False)
        self.negative = nn.Linear(num_features, num_classes, bias=False)

    def margins(self, features: Tensor) -> Tensor:
        """The logits d ``(N, K)`` of each class against all others: the class's own probability is σ(d)."""
        positive, negative = (F.normalize(part.weight) for part in (self.positive, self.negative))
        return F.linear(features, positive) - F.linear(features, negative)

    def forward(self, features: Tensor, logits: Tensor) -> Tensor:
        """The logit of ``unknown`` ``(N,)``."""
        nearest = logits.argmax(1, keepdim=True)
        return logits.amax(1) - self.margins(features).gather(1, nearest).squeeze(1)
