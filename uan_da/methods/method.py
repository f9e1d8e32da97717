"""What every method is: the base classes, whose parts have defaults, and what passes between a method and its loop.

- :class:`Method`: a recipe trains it. Its one duty is ``loss`` (or ``phases``).
- :class:`TransferMethod`: a ``Method`` whose terms come from one shared forward of both domains, so that several can be
  added to each other.
- :class:`SourceFreeMethod`: it adapts a trained model to unlabelled target images.

:class:`uan_da.streams.method.StreamMethod` is for streams.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch, View
from uan_da.methods.routing import Routing, forward
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier, Output
from uan_da.models.rejection import EntropyRejection, Rejection
from uan_da.norms.distributed import averaged_over_processes
from uan_da.recipe.classes import Setting


@dataclass(frozen=True)
class Progress:
    """How far a method is: ``step`` of its ``total`` steps are done; those of a pre-training before it do not count."""

    step: int
    total: int

    @property
    def part(self) -> float:
        """The part that is done, 0 to 1."""
        return self.step / self.total


@dataclass(frozen=True)
class Loss:
    """The loss of one batch: its named, already weighted ``terms``, whose sum is minimised, and ``metrics`` to log."""

    terms: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return sum(list(self.terms.values())[1:], next(iter(self.terms.values())))

    def detached(self) -> Self:
        """The same numbers, without their graph."""
        terms, metrics = ({name: x.detach() for name, x in part.items()} for part in (self.terms, self.metrics))
        return type(self)(terms, metrics)


def mean_loss(losses: Sequence[Loss]) -> Loss:
    """Terms and metrics of a batch, from those of its equal parts and of all processes; detached."""
    terms, metrics = _means([loss.terms for loss in losses]), _means([loss.metrics for loss in losses])
    return Loss(*averaged_over_processes(terms, metrics))


def _means(numbers: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    if len(numbers) == 1:
        return dict(numbers[0])
    return {name: torch.stack([each[name] for each in numbers]).mean() for name in numbers[0]}


LossOf = Callable[[Classifier, DomainBatch, Progress], Loss]
"""What gives the loss of a batch."""


@dataclass(frozen=True)
class Ascent:
    r"""Where an optimizer step takes its gradient: not at the model's weights θ, but a little up its task loss.

    .. math:: ∇L(θ + e), \quad e = ρ\, \frac{∇ℓ(θ)}{‖∇ℓ(θ)‖}

    Sharpness-aware minimisation (Foret et al., ICLR 2021, arXiv:2010.01412) has ℓ = L. Smooth domain adversarial
    training (SDAT; Rangwani et al., ICML 2022, arXiv:2206.08213) leaves the adversarial term out of ``loss`` ℓ: for a
    flat minimum of the task, and an adversary as strong as ever. ``radius`` is ρ, 0.02 in the authors' scripts for
    Office-Home. A step makes two passes. Only the first updates running statistics and clusters (in the authors' code
    both do). The terms that are logged are the second's. Weights of the method itself, such as a discriminator's, do
    not go up.
    """

    loss: LossOf
    radius: float


@dataclass(frozen=True)
class Phase:
    """One of several optimizer steps on the same batch: what it minimises, the modules whose parameters it trains (none
    named: all), and how often. ``name`` goes in front of its terms in the log."""

    name: str
    loss: LossOf
    modules: Sequence[nn.Module] = ()
    times: int = 1
    ascent: Ascent | None = None


class BaseMethod(nn.Module, ABC):
    """What all methods share. It is a module: what it trains or keeps beside the model is in its state.

    It is built as ``Class(model, num_classes, **options)``. Its options are the keyword-only parameters of its
    constructor; a recipe validates them by their annotations.
    """

    needs: ClassVar[str] = "target images"
    """What it needs beside labelled source images, in a few words."""

    used_by: ClassVar[str] = ""
    """The command that runs it, up to the method's name. Empty where a recipe trains it."""

    settings: ClassVar[tuple[Setting, ...]] = ("closed_set",)
    """The settings that it serves: those that its paper measures it in."""

    @staticmethod
    def rejection(num_features: int, num_classes: int, threshold: float) -> Rejection:
        """The rule by which a network answers ``unknown``, where the target has classes of its own.

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
    """Whether batches have the target's labels: for an upper bound that is named so. Otherwise they are all −1."""

    pretrain_epochs: ClassVar[int | None] = None
    """The default of ``method.pretrain_epochs``: epochs before its own."""

    pretrains_with_target: ClassVar[bool] = False
    """Whether :meth:`pretrain_loss` reads the target, or updates what :meth:`predictor` gives."""

    parallel: bool = False
    """Whether processes that share each batch come to what one comes to: the loss is a mean over the images, and all
    else that it takes from a batch it takes from all processes (:mod:`uan_da.norms.distributed`)."""

    shares_forward: ClassVar[bool] = False
    """Whether it is a :class:`TransferMethod`."""

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of a batch."""
        raise NotImplementedError(f"{type(self).__name__} defines neither loss nor phases")

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """The optimizer steps that are made on each batch: one on :meth:`loss`, which moves everything."""
        return [Phase("", self.loss)]

    def pretrain_loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of the epochs before its own: the source's cross-entropy."""
        return source_loss(model, batch, progress)

    def start(self, model: Classifier) -> None:
        """Called once, before its first own step."""

    def after_step(self, model: Classifier) -> None:
        """Called after each batch of its own, for moving averages."""

    def predictor(self, model: Classifier) -> Classifier:
        """The network that is evaluated and kept."""
        return model


class TransferMethod(Method):
    """A method whose loss is the cross-entropy of the source plus terms of one forward of both domains.

    Such methods can be added to each other (``method.then``), since they share the forward, of the weak views. So they
    define :meth:`transfer` alone, and nothing that needs a training to itself.
    """

    shares_forward: ClassVar[bool] = True

    routing: ClassVar[Routing] = "joint"
    """The default of ``method.routing``: the paper's way."""

    on_answers: ClassVar[bool] = False
    """Whether its terms are of the answers, and part of the task loss that SDAT goes up, as MCC's are there. Terms that
    bring the domains together are not."""

    sdat_radius: float = 0.0
    """The radius of its :class:`Ascent`; 0: none."""

    @abstractmethod
    def transfer(self, source: Output, target: Output, labels: Tensor, progress: Progress) -> Loss:
        """The terms beside the source's cross-entropy; ``labels`` ``(N_S,)`` are the source's."""

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """CE(f(x_S), y_S) plus the method's own terms."""
        return shared_loss([self], self.routing, model, batch, progress)


class SourceFreeMethod(BaseMethod):
    """A method that adapts a trained model to unlabelled target images. It sees no source, so no recipe trains it."""

    needs: ClassVar[str] = "a trained run and target images"
    used_by: ClassVar[str] = "it adapts a trained run to images, uan-da adapt RUN IMAGES_FOLDER --method"

    norm: Mapping[str, Any] | None = None
    """After :meth:`adapt`, the norm of the model as a recipe writes it, where the method put another in."""

    groups: Tensor | None = None
    """After :meth:`adapt`, the group ``(N,)`` of each image, where the method found some."""

    scores: Mapping[int, float] | None = None
    """After :meth:`adapt`, what each number of groups that was tried scored, without labels."""

    @abstractmethod
    def adapt(self, model: Classifier, target: Target) -> Tensor | None:
        """Adapt ``model`` to ``target``, in place.

        It may draw from torch's global generator, which its caller has seeded.

        Returns:
            None where the adapted model, in evaluation mode, has the answers; else the answers themselves:
            probabilities ``(N, classes)`` in the order of the images.

        Raises:
            UserError: the model or the images lack what the method adapts or reads.
        """


def source_loss(model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
    """CE(f(x_S), y_S) on the weak view of the source, in a forward of its own."""
    (source,) = forward(model, [batch.source.weak], [batch.source.domain], "joint")
    return Loss({"source": F.cross_entropy(source.logits, batch.source.labels)})


def shared_loss(
    methods: Sequence[TransferMethod], routing: Routing, model: Classifier, batch: DomainBatch, progress: Progress
) -> Loss:
    """CE(f(x_S), y_S) plus the terms of each of ``methods``, all of one forward of the weak views.

    Where two methods name a term alike, the second's gets a number.
    """
    labels = batch.source.labels
    images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
    source, target = forward(model, images, domains, routing)
    whole = Loss({"source": F.cross_entropy(source.logits, labels)})
    for number, method in enumerate(methods, 1):
        own = method.transfer(source, target, labels, progress)
        for into, values in ((whole.terms, own.terms), (whole.metrics, own.metrics)):
            into.update({f"{name}_{number}" if name in into else name: value for name, value in values.items()})
    return whole
