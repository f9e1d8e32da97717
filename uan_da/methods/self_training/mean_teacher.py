"""Self-ensembling: the network agrees, on the target, with the average of its own past."""

import copy
from typing import Annotated, ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, View
from uan_da.methods.method import Loss, Method, Progress
from uan_da.methods.routing import forward
from uan_da.models.classifier import Classifier
from uan_da.norms import DomainNorm


class MeanTeacher(Method):
    r"""Self-ensembling with a mean teacher (French et al., ICLR 2018, arXiv:1706.05208).

    .. math:: L = CE(f(x_S), y_S) + w · \Big[\frac{1}{N_T} \sum_i m_i · \frac{1}{C} ‖p_i − q_i‖^2
        + b · \bar m · \sum_k BCE(\bar p_k, 1/C)\Big], \quad m_i = 1[\max q_i > τ]

    with p the student's probabilities of one view of the target, q the teacher's of another, without gradient, and
    means p̄ and m̄ over the batch. After each step the teacher's parameters follow, θ′ ← α·θ′ + (1 − α)·θ; it is the
    teacher that is evaluated and kept. Paper: α = 0.99, τ = 0.968; authors' code: w = 3, b = 0.005 (their scripts have
    b = 0 but for the pairs of MNIST and SVHN).

    Source and target have a forward each, as in the paper, and the teacher sees the target alone: its running
    statistics are the target's, and a norm with branches per domain has the source's from the student. The authors
    draw both views from one augmentation; here the student has the strong view, the teacher and the source have the
    weak one. UAN's clusters are parameters that its own EM moves too, in the teacher by the target's images alone. The
    teacher is about 1 / (1 − α) steps behind, which a very short training does not make up for.
    """

    views: ClassVar[tuple[View, ...]] = ("weak", "strong")
    needs: ClassVar[str] = "weak and strong views of the target"

    def __init__(
        self,
        model: Classifier,
        num_classes: int,
        *,
        trade_off: Annotated[float, Field(ge=0)] = 3.0,
        threshold: Annotated[float, Field(ge=0, le=1)] = 0.968,
        class_balance: Annotated[float, Field(ge=0)] = 0.005,
        decay: Annotated[float, Field(ge=0, lt=1)] = 0.99,
    ) -> None:
        super().__init__()
        self.trade_off, self.threshold = trade_off, threshold
        self.class_balance, self.decay = class_balance, decay
        self.teacher = copy.deepcopy(model).requires_grad_(False)

    def start(self, model: Classifier) -> None:
        """The teacher begins as the student, whatever that has learned before."""
        self.teacher.load_state_dict(model.state_dict())

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch; labels of the target are neither needed nor there."""
        images, domains = [batch.source.weak, batch.target.strong], [batch.source.domain, batch.target.domain]
        source, student = forward(model, images, domains, "separate")
        self.teacher.train()  # it normalises by its batch and keeps its dropout; an evaluation has left it in eval mode
        with torch.no_grad():
            (prediction,) = forward(self.teacher, [batch.target.weak], [batch.target.domain], "separate")
        p, q = student.logits.softmax(1), prediction.logits.softmax(1)
        mask = (q.amax(1) > self.threshold).to(q.dtype)
        consistency = (mask * (p - q).square().mean(1)).mean()
        balance = self.class_balance * mask.mean() * imbalance(p)
        terms = {
            "source": F.cross_entropy(source.logits, batch.source.labels),
            "consistency": self.trade_off * consistency,
            "balance": self.trade_off * balance,
        }
        return Loss(terms, {"mask": mask.mean()})

    @torch.no_grad()
    def after_step(self, model: Classifier) -> None:
        """The teacher's parameters follow the student's; its running statistics are its own, of the target."""
        for slow, fast in zip(self.teacher.parameters(), model.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.decay)
        for own, students in zip(self.teacher.modules(), model.modules(), strict=True):
            if isinstance(own, DomainNorm) and isinstance(students, DomainNorm):
                for branch, seen in zip(own.branches[:-1], students.branches[:-1], strict=True):
                    _copy_buffers(branch, seen)  # a source's branch: the teacher never has such images

    def predictor(self, model: Classifier) -> Classifier:
        """The teacher."""
        return self.teacher


def _copy_buffers(to: nn.Module, of: nn.Module) -> None:
    for old, new in zip(to.buffers(), of.buffers(), strict=True):
        old.copy_(new)


def imbalance(probabilities: Tensor) -> Tensor:
    """Binary cross-entropy of each class's mean probability and 1/C, summed over the C classes.

    ``probabilities`` ``(N, C)``. The 1e-6 keeps the logarithms of 0 finite, as in the authors' code.
    """
    mean, even = probabilities.mean(0), 1 / probabilities.shape[1]
    return -(even * (mean + 1e-6).log() + (1 - even) * (1 - mean + 1e-6).log()).sum()
