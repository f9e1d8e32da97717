"""The keys of a recipe."""

import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from uan_da.errors import UserError
from uan_da.recipe.blocks import (
    AugmentationBlock,
    BackboneBlock,
    MethodBlock,
    NormBlock,
    OptimizerBlock,
    ScheduleBlock,
    ValidatorBlock,
)
from uan_da.recipe.classes import Classes, Setting
from uan_da.recipe.network import Bottleneck, Head, Input
from uan_da.recipe.published import Published, published_rows
from uan_da.recipe.published_input import with_published_input
from uan_da.recipe.strict import Strict
from uan_da.recipe.task_name import Task
from uan_da.trust import NOTHING, Trust, trust_in


class Target(Strict):
    """What is known of the target."""

    labelled: PositiveInt
    """Training images of each class whose labels are given; the run's seed draws them."""


class Augment(Strict):
    """The views of a training image; each list is applied in order, to whole batches, with one draw per image."""

    weak: tuple[AugmentationBlock, ...] = ()
    strong: tuple[AugmentationBlock, ...] = ()


BatchSize = Annotated[int, Field(gt=0, le=65536)]


class Batch(Strict):
    """Images per step; a domain smaller than its batch wraps around."""

    source: BatchSize = 64
    """Images of each source domain."""
    target: BatchSize = 64
    balance: Literal["none", "class"] = "none"
    """``class``: each class of a source is equally frequent in its batches."""
    sources: Literal["balanced", "proportional"] = "balanced"
    """``proportional``: several sources share the same total in proportion to their sizes."""


Precision = Literal["fp32", "bf16", "fp16"]


class Train(Strict):
    """Length, batch, optimizer and schedule of the training."""

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    """Number of batches, in place of epochs, without those of pre-training. A method of several phases (MCD, SWD, ADDA)
    takes several optimizer steps on each batch."""
    steps_per_epoch: PositiveInt | None = None
    """Default: one pass over the source."""
    batch: Batch = Batch()
    optimizer: OptimizerBlock = Field(default_factory=OptimizerBlock.default)
    schedule: ScheduleBlock = Field(default_factory=ScheduleBlock.default)
    warm_up: NonNegativeInt = 0
    """Steps over which the learning rate rises linearly to that of the schedule."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Evaluate and keep the exponential moving average of the weights, with this decay, instead of the weights."""
    precision: Precision = "fp32"
    """``bf16``, ``fp16``: the network's forward runs in half precision under autocast; norm statistics, losses, weights
    and evaluation stay in float32."""
    accumulate: PositiveInt = 1
    """Number of equal parts of each batch. They go through the network one after the other, so that memory holds one
    part, and their gradients are averaged before the optimizer's step. Norms take the statistics of a part."""
    clip: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """The maximum norm of the gradient of an optimizer step, over all parameters that it trains."""
    compile: bool = False
    """``torch.compile`` the backbone; the first step then takes minutes."""
    checkpoint_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10
    """Minutes between checkpoints, besides those at the end of each epoch; may be a fraction."""

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            both = " (train.epochs=null or train.steps=null takes a recipe's own away)" if self.steps else ""
            raise ValueError(f"exactly one of 'epochs' and 'steps' says how long to train{both}")
        return self


class Selection(Strict):
    """The checkpoint to keep besides the last: the best by a score that needs no target label."""

    validator: ValidatorBlock = Field(default_factory=ValidatorBlock.default)
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Fraction of each class of each source that is held out from training, for the validators that read labelled
    source images; at 0 these read the training images, and are too optimistic."""
    oracle: bool = False
    """Also keep the checkpoint with the best accuracy on the target's test images. It reads target labels: an upper
    bound, not a way to select."""


class Evaluation(Strict):
    """What happens before an evaluation."""

    recalibrate: Literal["none", "target"] = "none"
    """``target``: the target's accuracy is measured with running statistics re-estimated on its unlabelled training
    images (AdaBN's step, for any norm that has them); the source keeps its own."""


WHY: dict[Setting, str] = {
    "closed_set": "no class is private to the source or the target",
    "partial": "the target lacks some of the source's classes, and what it matches to them is wrong",
    "open_set": "the target has classes that the source lacks, and what it matches to the source's is wrong",
    "universal": "source and target both have classes that the other lacks",
    "semi_supervised": "some images of the target have labels, which it would not use",
}
"""What a method must cope with in a setting."""


def _setting(classes: Classes | None, target: Target | None) -> Setting:
    if target is not None:
        return "semi_supervised"
    return "closed_set" if classes is None else classes.setting


def _own_code(dataset: str, info: ValidationInfo) -> str:
    """``module:Class``, unlike a card or a folder, is code."""
    if ":" in dataset and os.sep not in dataset and Path(dataset).suffix not in {".yaml", ".yml"}:
        try:
            trust_in(info.context).check("dataset", dataset)
        except UserError as error:
            raise ValueError(str(error)) from error
    return dataset


class Recipe(Strict):
    """One complete training: task, backbone, norm, method, schedule, seed."""

    version: Literal[1] = Field(default=1, alias="schema")
    description: str = ""
    dataset: Annotated[str, AfterValidator(_own_code)]
    task: Task
    classes: Classes | None = None
    """Which classes source and target share, if they do not have the same."""
    target: Target | None = None
    """Labels of the target that are given, in semi-supervised adaptation."""
    input: Input = Input()
    backbone: BackboneBlock
    bottleneck: Bottleneck | None = None
    head: Head = Head()
    norm: NormBlock = Field(default_factory=NormBlock.default)
    method: MethodBlock = Field(default_factory=MethodBlock.default)
    augment: Augment = Augment()
    train: Train
    selection: Selection = Field(default_factory=Selection)
    evaluation: Evaluation = Evaluation()
    init: str | None = None
    """A run folder: start from its final weights."""
    seed: Annotated[int, Field(ge=0)] = 0
    published: Annotated[tuple[Published, ...] | None, BeforeValidator(published_rows)] = None
    """Published figures on these tasks; no training reads them."""
    _trust: Trust = NOTHING

    @model_validator(mode="before")
    @classmethod
    def _as_the_weights_expect(cls, data: Any) -> Any:
        """Keys of ``input`` that are not said are those of the backbone's published weights."""
        return with_published_input(data) if isinstance(data, dict) else data

    @field_validator("method")
    @classmethod
    def _has_a_target(cls, method: MethodBlock, info: ValidationInfo) -> MethodBlock:
        task = info.data.get("task")
        if task and task.alone and method.target.uses_target:
            raise ValueError(
                f"{method.name!r} adapts to a target, and the task {task} has none: "
                f"use source_only, or a task {task}:TARGET"
            )
        return method

    @field_validator("method")
    @classmethod
    def _has_sources(cls, method: MethodBlock, info: ValidationInfo) -> MethodBlock:
        task = info.data.get("task")
        if task and method.target.head_per_source and len(task.sources) < 2:
            raise ValueError(
                f"{method.name!r} matches several sources with each other, and the task {task} has one: "
                f"use a task A+B:{task.target}, or another method"
            )
        return method

    @field_validator("method")
    @classmethod
    def _serves_the_setting(cls, method: MethodBlock, info: ValidationInfo) -> MethodBlock:
        if not {"classes", "target"} <= info.data.keys():  # one of them is wrong, so the setting is not known
            return method
        setting = _setting(info.data["classes"], info.data["target"])
        for name, target in [(each.name, each.target) for each in (method, *method.then)]:
            if setting not in target.settings:
                raise ValueError(
                    f"{name!r} serves {', '.join(target.settings)}, and this recipe is {setting}: "
                    f"{WHY[setting]}. Methods that serve it: uan-da list methods --setting {setting}"
                )
        return method

    @field_validator("classes")
    @classmethod
    def _has_another_domain(cls, classes: Classes | None, info: ValidationInfo) -> Classes | None:
        task = info.data.get("task")
        if task and task.alone and classes and classes.setting != "closed_set":
            raise ValueError(f"the task {task} is one domain, which shares all of its classes with itself")
        return classes

    @field_validator("target")
    @classmethod
    def _is_a_closed_set(cls, target: Target | None, info: ValidationInfo) -> Target | None:
        task, classes = info.data.get("task"), info.data.get("classes")
        if target is None:
            return None
        if task and task.alone:
            raise ValueError(f"the task {task} has no target beside its source, whose labels are all given")
        if classes and classes.setting != "closed_set":
            raise ValueError(f"labels are given in closed sets alone, and 'classes' makes this one {classes.setting}")
        return target

    @model_validator(mode="after")
    def _batches_have_statistics(self) -> Self:
        """A BatchNorm of features has one value of each image: of one image alone there is no variance."""
        head = self.head.logits_norm or (self.head.norm and self.head.hidden)
        normed = (self.bottleneck is not None and self.bottleneck.norm) or head
        if normed and self._smallest_forward == 1:
            raise ValueError(
                f"train.batch: {self.method.name!r} sends one image alone through the network, and the BatchNorm of "
                "bottleneck or head needs two: give larger batches, or bottleneck.norm=false, head.norm=false and "
                "head.logits_norm=false"
            )
        return self

    @property
    def _smallest_forward(self) -> int | None:
        """Images of the smallest forward of a step; None where the method alone knows."""
        method, batch = self.method, self.train.batch
        source = batch.source * len(self.task.sources)
        if "separate" in (method.routing, method.options.get("routing")):
            return min(source, batch.target)
        source_alone = method.pretrain_epochs and not method.target.pretrains_with_target
        return source if source_alone or not method.target.uses_target else None

    @property
    def setting(self) -> Setting:
        """Which domains have private classes, or that labels of the target are given."""
        return _setting(self.classes, self.target)

    @property
    def rejects(self) -> bool:
        """Whether the network can predict ``unknown``."""
        return self.setting in ("open_set", "universal")

    def to_dict(self) -> dict[str, Any]:
        """The recipe as plain values for YAML, with every default."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def meaning(self) -> dict[str, Any]:
        """The recipe without the keys that do not affect any number."""
        kept = {key: value for key, value in self.to_dict().items() if key not in ("description", "published")}
        return kept | {"train": {key: v for key, v in kept["train"].items() if key != "checkpoint_minutes"}}

    def model_post_init(self, context: Any) -> None:
        """Keep what the recipe was read by: the card that it names is read by the same."""
        self._trust = trust_in(context)

    @property
    def trust(self) -> Trust:
        """Whether code that its data set's card names is run."""
        return self._trust

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Recipe) and self.to_dict() == other.to_dict()

    def source_only(self) -> "Recipe":
        """The baseline of this recipe: ``source_only`` instead of the method, and no ``init``."""
        plain = {**self.to_dict(), "method": "source_only", "init": None}
        return Recipe.model_validate(plain, context=self.trust.naming([plain]))
