"""The base classes of methods, with default implementations, and what a method and the training loop exchange.

- :class:`Method`: trained by a recipe. A subclass defines ``loss`` (or ``phases``).
- :class:`TransferMethod`: a ``Method`` whose terms come from one shared forward of both domains, so that the terms of
  several methods can be added.
- :class:`SourceFreeMethod`: adapts a trained model to unlabelled target images.

:class:`uan_da.streams.method.StreamMethod` is for streams.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, View
from uan_da.methods.routing import Routing, forward
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier, Output
from uan_da.models.rejection import EntropyRejection, Rejection
from uan_da.norms.distributed import averaged_over_processes, is_distributed
from uan_da.recipe.classes import Setting


@dataclass(frozen=True)
class Progress:
    """The progress of a method: ``step`` of its ``total`` steps are done. Steps of pre-training do not count."""

    step: int
    total: int

    @property
    def part(self) -> float:
        """The fraction that is done, 0 to 1."""
        return self.step / self.total


@dataclass(frozen=True)
class Loss:
    """The loss of one batch: its named, already weighted ``terms``, whose sum is minimised, and ``metrics`` to log."""

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @cached_property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return sum(list(self.terms.values())[1:], next(iter(self.terms.values())))

    def detached(self) -> Self:
        """The same numbers, detached from the autograd graph."""
        parts = self.terms, self.metrics
        terms, metrics = ({name: x.detach() if x.requires_grad else x for name, x in part.items()} for part in parts)
        loss = type(self)(terms, metrics)
        loss.__dict__["total"] = self.total.detach()  # the property's cache: it need not be added up again
        return loss


def mean_loss(losses: Sequence[Loss]) -> Loss:
    """Terms and metrics of a batch: the mean over its equal parts and over all processes; detached."""
    if len(losses) == 1 and not is_distributed():
        return losses[0]
    terms, metrics = _means([loss.terms for loss in losses]), _means([loss.metrics for loss in losses])
    return Loss(*averaged_over_processes(terms, metrics))


def _means(numbers: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(numbers) == 1:
        return dict(numbers[0])
    return {name: torch.stack([each[name] for each in numbers]).mean() for name in numbers[0]}


LossOf = Callable[[Classifier, DomainBatch, Progress], Loss]
"""A function that returns the loss of a batch."""


@dataclass(frozen=True)
class Ascent:
    r"""The point at which an optimizer step takes its gradient: the model's weights θ, moved up the task loss by ρ.

    .. math:: ∇L(θ + e), \quad e = ρ\, \frac{∇ℓ(θ)}{‖∇ℓ(θ)‖}

    Sharpness-aware minimisation (Foret et al., ICLR 2021, arXiv:2010.01412) has ℓ = L. Smooth domain adversarial
    training (SDAT; Rangwani et al., ICML 2022, arXiv:2206.08213) leaves the adversarial term out of ``loss`` ℓ, which
    flattens the minimum of the task loss and does not weaken the adversary. ``radius`` is ρ, 0.02 in the authors'
    scripts for Office-Home. A step makes two passes. Only the first updates running statistics and clusters (in the
    authors' code both do). The second gives the logged terms. Weights of the method itself, such as a discriminator's,
    are not moved.
    """

    loss: LossOf
    radius: float


@dataclass(frozen=True)
class Phase:
    """One of several optimizer steps on the same batch: its loss, the modules whose parameters it trains (empty: all),
    and the number of repetitions. ``name`` prefixes its terms in the log."""

    name: str
    loss: LossOf
    modules: Sequence[nn.Module] = ()
    times: int = 1
    ascent: Ascent | None = None


class BaseMethod(nn.Module, ABC):
    """The base class of all methods. A method is a module: its own parameters and buffers are part of its state.

    It is built as ``Class(model, num_classes, **options)``. Its options are the keyword-only parameters of its
    constructor; a recipe validates them by their annotations.
    """

    needs: ClassVar[str] = "target images"
    """What it needs besides labelled source images, in a few words."""

    used_by: ClassVar[str] = ""
    """The command that runs it, up to the method's name. Empty if a recipe trains it."""

    settings: ClassVar[tuple[Setting, ...]] = ("closed_set",)
    """The settings that it serves: those that its paper measures it in."""

    @staticmethod
    def rejection(num_features: int, num_classes: int, threshold: float) -> Rejection:
        """The rule by which a network predicts ``unknown``, where the target has classes of its own.

        Args:
            num_features, num_classes: of the network; ``unknown`` is not among the classes.
            threshold: the recipe's ``classes.threshold``.
        """
        return EntropyRejection(threshold)


class Method(BaseMethod):
    """A method that a recipe trains. A subclass defines :meth:`loss`, or :meth:`phases`; the rest has defaults."""

    views: ClassVar[tuple[View, ...]] = ("weak",)
    """The views of a batch that the loss reads."""

    uses_target: ClassVar[bool] = True
    """Whether batches have target images."""

    reads_target_labels: ClassVar[bool] = False
    """Whether batches have the target's labels, for an upper bound such as ``target_oracle``. Otherwise all are −1."""

    pretrain_epochs: ClassVar[int | None] = None
    """The default of ``method.pretrain_epochs``: epochs on the source before the method starts."""

    pretrains_with_target: ClassVar[bool] = False
    """Whether :meth:`pretrain_loss` reads the target, or updates the network that :meth:`predictor` returns."""

    parallel: bool = False
    """Whether several processes that share each batch compute what one process computes: the loss is a mean over the
    images, and all other statistics of a batch cover all processes (:mod:`uan_da.norms.distributed`)."""

    shares_forward: ClassVar[bool] = False
    """Whether it is a :class:`TransferMethod`."""

    head_per_source: ClassVar[bool] = False
    """Whether it needs several sources, and the network has a head for each,
    :class:`~uan_da.models.head.SourceHeads`."""

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of a batch."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor phases")

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """The optimizer steps on each batch; by default one, on :meth:`loss`, which trains all parameters."""
        return [Phase("", self.loss)]

    def pretrain_loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of pre-training; by default the source's cross-entropy."""
        return source_loss(model, batch, progress)

    def prepare(self, model: Classifier, target_images: int) -> None:
        """Called once, when the training is built, with the number of the target's training images: for what it keeps
        of each of them in its state."""

    def start(self, model: Classifier) -> None:
        """Called once, after pre-training and before the first step of the method."""

    def after_step(self, model: Classifier) -> None:
        """Called after each step of the method, for moving averages."""

    def predictor(self, model: Classifier) -> Classifier:
        """The network that is evaluated and kept."""
        return model


class TransferMethod(Method):
    """A method whose loss is the cross-entropy of the source plus terms of one forward of both domains.

    The terms of such methods can be added (``method.then``), because they share one forward of the weak views. So they
    define :meth:`transfer`, or :meth:`terms` where that reads too little, and no ``loss``, ``phases`` or ``predictor``.
    """

    shares_forward: ClassVar[bool] = True

    routing: ClassVar[Routing] = "joint"
    """The default of ``method.routing``: the paper's choice."""

    on_predictions: ClassVar[bool] = False
    """Whether its terms are functions of the predictions, as MCC's are, and so belong to the task loss of SDAT. Terms
    that align the domains do not."""

    sdat_radius: float = 0.0
    """The radius of its :class:`Ascent`; 0: none."""

    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The terms to add to the source's cross-entropy; ``labels`` ``(N_S,)`` are the source's."""
        raise NotImplementedError(f"{type(self).__name__} defines neither transfer nor terms")

    def terms(self, model: Classifier, batch: DomainBatch, source: Output, target: Output, progress: Progress) -> Loss:
        """The same of all that there is to read: by default :meth:`transfer`, of the outputs alone."""
        return self.transfer(source, target, batch.source.labels, progress)

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """CE(f(x_S), y_S) plus the method's own terms."""
        return shared_loss([self], self.routing, model, batch, progress)


class SourceFreeMethod(BaseMethod):
    """A method that adapts a trained model to unlabelled target images. It sees no source, so no recipe trains it."""

    needs: ClassVar[str] = "a trained run and target images"
    used_by: ClassVar[str] = "it adapts a trained run to images, uan-da adapt RUN IMAGES_FOLDER --method"

    norm: Mapping[str, Any] | None = None
    """After :meth:`adapt`, the ``norm`` block of a recipe for the model, if the method replaced the norm."""

    groups: Tensor | None = None
    """After :meth:`adapt`, the group ``(N,)`` of each image, if the method found groups."""

    scores: Mapping[int, float] | None = None
    """After :meth:`adapt`, the score of each tried number of groups, computed without labels."""

    @abstractmethod
    def adapt(self, model: Classifier, target: Target) -> Tensor | None:
        """Adapt ``model`` to ``target``, in place.

        It may draw from torch's global generator, which its caller has seeded.

        Returns:
            None if the adapted model, in evaluation mode, makes the predictions; else the predictions:
            probabilities ``(N, classes)`` in the order of the images.

        Raises:
            UserError: the model or the images lack something that the method needs.
        """


def source_loss(model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
    """CE(f(x_S), y_S) on the weak view of the source, in a forward of its own."""
    (source,) = forward(model, [batch.source.weak], [batch.source.domain], "joint")
    return Loss({"source": F.cross_entropy(source.logits, batch.source.labels)})


def shared_loss(
    methods: Sequence[TransferMethod], routing: Routing, model: Classifier, batch: DomainBatch, progress: Progress
) -> Loss:
    """CE(f(x_S), y_S) plus the terms of each of ``methods``, all from one forward of the weak views.

    If two methods have a term of the same name, the name of the second gets a number.
    """
    labels = batch.source.labels
    images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
    source, target = forward(model, images, domains, routing)
    whole = Loss({"source": F.cross_entropy(source.logits, labels)})
    for number, method in enumerate(methods, 1):
        own = method.terms(model, batch, source, target, progress)
        for into, values in ((whole.terms, own.terms), (whole.metrics, own.metrics)):
            into.update({f"{name}_{number}" if name in into else name: value for name, value in values.items()})
    return whole
