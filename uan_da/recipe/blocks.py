"""The blocks of a recipe: one class for each kind of thing that has a name and options."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol

from pydantic import NonNegativeInt, PositiveFloat

from uan_da.names import AUGMENTATIONS, BACKBONES, METHODS, NORMS, OPTIMIZERS, SCHEDULES, VALIDATORS
from uan_da.recipe.block import Block
from uan_da.recipe.classes import Setting

if TYPE_CHECKING:  # to list recipes takes no PyTorch
    from torch import nn, optim  # noqa: F401  # named in strings

Routing = Literal["joint", "separate"]
"""``joint``: one forward, so that domains share their batch statistics; ``separate``: one forward for each domain."""


@dataclass(frozen=True)
class BackboneBlock(Block["nn.Module"]):
    """A backbone: called with the number of input channels, it is built."""

    names: ClassVar = BACKBONES

    weights: str = "none"
    """What it starts from: ``none``; ``default``, the published weights; the name of other published ones, such as
    ``IMAGENET1K_V1``; or the path of a state dict, ``.pt``, ``.pth`` or ``.safetensors``."""

    def __post_init__(self) -> None:
        try:
            inspect.signature(self.target).bind(3, **self.options)
        except TypeError as error:
            raise ValueError(
                f"{self.name!r} is not a backbone: expected a function or class that is called with the number of "
                f"input channels, has keyword-only parameters as options, and gives a torch.nn.Module ({error})"
            ) from None


@dataclass(frozen=True)
class NormBlock(Block["nn.Module"]):
    """A norm: called with a BatchNorm, it makes the layer that takes its place."""

    names: ClassVar = NORMS
    default_name: ClassVar = "bn"

    where: str = "all"
    """Which normalisation layers: ``all``, ``first``, ``last``, ``input`` or ``re:PATTERN`` over module names."""
    input: Literal["none", "instance"] = "none"
    """``instance`` puts instance normalisation in front of the network."""

    def __post_init__(self) -> None:
        if self.where == "input" and self.input == "instance":
            raise ValueError(
                "'where: input' and 'input: instance' both put a norm in front of the network: leave one out"
            )


class MethodClass(Protocol):
    """What a recipe reads of a method's class; :class:`uan_da.methods.method.Method` explains each part."""

    used_by: str
    settings: Sequence[Setting]
    views: Sequence[Literal["weak", "strong"]]
    uses_target: bool
    pretrain_epochs: int | None
    pretrains_with_target: bool
    shares_forward: bool
    head_per_source: bool
    routing: Routing

    def __call__(self, model: Any, num_classes: int, **options: Any) -> Any:
        """Build the method."""

    def rejection(self, num_features: int, num_classes: int, threshold: float) -> Any:
        """Build the rule by which a network predicts ``unknown``."""


@dataclass(frozen=True)
class AddedMethod(Block[Any]):
    """A method whose terms are added to another's: called with the model and the number of classes, it is built."""

    names: ClassVar = METHODS

    target: MethodClass

    @classmethod
    def load(cls, name: str) -> Any:
        """The class of that name; ValueError where a recipe cannot train it."""
        target = super().load(name)
        if target.used_by:
            raise ValueError(f"{name!r} does not train: {target.used_by} {name}")
        return target


@dataclass(frozen=True)
class MethodBlock(AddedMethod):
    """The method that a recipe trains, and how."""

    default_name: ClassVar = "source_only"

    routing: Routing | None = None
    """Source and target in one forward, with shared batch statistics, or in one each.  [default: the paper's way]"""
    pretrain_epochs: NonNegativeInt | None = None
    """Epochs before the method's own, on top of ``train``: on the source alone, or what the method pre-trains with (in
    DIRT-T, VADA).  [default: the paper's]"""
    pretrain_lr: PositiveFloat | None = None
    """The learning rate of those epochs.  [default: the optimizer's]"""
    then: tuple[AddedMethod, ...] = ()
    """Other methods whose terms are added to the loss; they share the forward."""

    @classmethod
    def defaults_of(cls, target: MethodClass) -> Mapping[str, Any]:
        """The paper's routing and pre-training."""
        routing = target.routing if target.shares_forward else None
        return {"routing": routing, "pretrain_epochs": target.pretrain_epochs}

    def __post_init__(self) -> None:
        if self.pretrain_lr is not None and self.pretrain_epochs is None:
            raise ValueError(
                f"{self.name!r} has no pre-training for 'pretrain_lr': give 'pretrain_epochs', or train.optimizer.lr"
            )
        if not self.target.shares_forward and (self.routing or self.then):
            raise ValueError(f"{self.name!r} makes its own forwards: 'routing' and 'then' have no meaning for it")
        for added in self.then:
            if not added.target.shares_forward:
                raise ValueError(f"{added.name!r} makes its own forwards, and cannot be added to {self.name!r}")


@dataclass(frozen=True)
class AugmentationBlock(Block[Any]):
    """An augmentation: called without arguments, it is built; what is built is called with images and a generator."""

    names: ClassVar = AUGMENTATIONS

    def __post_init__(self) -> None:
        try:
            inspect.signature(self()).bind("images", "generator")
        except TypeError as error:
            raise ValueError(
                f"{self.name!r} is not an augmentation: expected a class with keyword-only parameters as options, "
                f"whose objects are called with (images, generator) ({error})"
            ) from None


@dataclass(frozen=True)
class OptimizerBlock(Block["optim.Optimizer"]):
    """An optimizer: called with the modules whose parameters it moves, it is built."""

    names: ClassVar = OPTIMIZERS
    default_name: ClassVar = "adam"


@dataclass(frozen=True)
class ScheduleBlock(Block[float]):
    """A schedule: called with a step and the number of steps, it gives the factor on the learning rate."""

    names: ClassVar = SCHEDULES
    default_name: ClassVar = "constant"


@dataclass(frozen=True)
class ValidatorBlock(Block[float]):
    """A validator: called with what it reads of a model's predictions, it gives their score."""

    names: ClassVar = VALIDATORS
    default_name: ClassVar = "information_maximization"
