"""What a recipe may say."""

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, PlainSerializer, PositiveInt, model_validator

from uan_da.names import AUGMENTATIONS, BACKBONES, METHODS, NORMS, OPTIMIZERS, SCHEDULES, VALIDATORS
from uan_da.recipe.block import Block, Strict, block


class TaskName(Strict):
    """``source:target``; several sources are joined by ``+``: ``mnist+usps:svhn``."""

    sources: tuple[str, ...]
    target: str

    def __str__(self) -> str:
        return f"{'+'.join(self.sources)}:{self.target}"

    @property
    def domains(self) -> tuple[str, ...]:
        """All domains, the target last: a domain's place here is its index."""
        return (*self.sources, self.target)


def parse_task(text: Any) -> TaskName:
    """``A:B``, ``A→B`` or ``A+B:C`` as a task; ValueError where it is none."""
    if isinstance(text, TaskName):
        return text
    if not isinstance(text, str):
        raise ValueError(f"expected SOURCE:TARGET, but got {text!r}")
    left, colon, target = text.replace("→", ":").partition(":")
    sources = tuple(name.strip() for name in left.split("+"))
    target = target.strip()
    if not colon or not target or not all(sources) or ":" in target:
        raise ValueError(f"expected SOURCE:TARGET (several sources: A+B:TARGET), but got {text!r}")
    if len({*sources, target}) <= len(sources):
        raise ValueError(f"a domain stands twice in {text!r}")
    return TaskName(sources=sources, target=target)


class Input(Strict):
    """How an image becomes the network's input: said, not guessed."""

    size: PositiveInt = 32
    """Side in pixels; images of another size are resized (bilinear, antialiased)."""
    channels: Literal[1, 3] = 3
    """Grey images are repeated over three channels, colour images become luminance for one."""
    mean: float | tuple[float, float, float] = 0.5
    std: Annotated[float, Field(gt=0)] | tuple[float, float, float] = 0.5
    """The network sees (x − mean) / std, x in [0, 1]."""


class NormKeys(Strict):
    """Keys of every norm beside its own options."""

    where: str = "all"
    """Which normalisation layers: ``all``, ``first``, ``last``, ``input`` or ``re:PATTERN`` over module names."""
    input: Literal["none", "instance"] = "none"
    """``instance`` puts instance normalisation in front of the network."""


class Augment(Strict):
    """The views of a training image; each list is applied in order, to whole batches, with one draw per image."""

    weak: tuple[block(AUGMENTATIONS), ...] = ()  # type: ignore[valid-type]
    strong: tuple[block(AUGMENTATIONS), ...] = ()  # type: ignore[valid-type]


class Batch(Strict):
    """Images per step; a domain smaller than its batch wraps around."""

    source: PositiveInt = 64
    """Of each source domain."""
    target: PositiveInt = 64
    balance: Literal["none", "class"] = "none"
    """``class``: each class of a source is equally frequent in its batches."""
    sources: Literal["balanced", "proportional"] = "balanced"
    """``proportional``: several sources share the same total by their sizes."""


class Train(Strict):
    """How long and how."""

    epochs: PositiveInt | None = None
    steps: PositiveInt | None = None
    """Optimizer steps in all, in place of epochs."""
    steps_per_epoch: PositiveInt | None = None
    """Default: one pass over the source."""
    batch: Batch = Batch()
    optimizer: block(OPTIMIZERS) = Field(default="adam", validate_default=True)  # type: ignore[valid-type]
    schedule: block(SCHEDULES) = Field(default="constant", validate_default=True)  # type: ignore[valid-type]

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.epochs is None) == (self.steps is None):
            raise ValueError("exactly one of 'epochs' and 'steps' says how long to train")
        return self


class Selection(Strict):
    """Which checkpoint, beside the last, is kept: the best by a score that needs no target label."""

    validator: block(VALIDATORS) = Field(default="information_maximization", validate_default=True)  # type: ignore[valid-type]
    holdout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Part of each source's training images, class by class, that is not trained on but kept for the validators that
    read labelled source images; at 0 those read the training images themselves, and are too hopeful."""
    oracle: bool = False
    """Also keep the checkpoint with the best accuracy on the target's test images: an upper bound that reads target
    labels, and no way to select."""


class Evaluation(Strict):
    """What happens before the test images are seen."""

    recalibrate: Literal["none", "target"] = "none"
    """``target``: the target's accuracy is measured with running statistics re-estimated on its unlabelled training
    images (AdaBN's step, for any norm that has them); the source keeps its own."""


class Recipe(Strict):
    """One training, complete: task, backbone, norm, method, schedule, seed."""

    version: Literal[1] = Field(default=1, alias="schema")
    description: str = ""
    dataset: str
    task: Annotated[TaskName, BeforeValidator(parse_task), PlainSerializer(str)]
    input: Input = Input()
    backbone: block(BACKBONES)  # type: ignore[valid-type]
    norm: block(NORMS, NormKeys) = Field(default="bn", validate_default=True)  # type: ignore[valid-type]
    method: block(METHODS) = Field(default="source_only", validate_default=True)  # type: ignore[valid-type]
    augment: Augment = Augment()
    train: Train
    selection: Selection = Field(default_factory=Selection)
    evaluation: Evaluation = Evaluation()
    seed: Annotated[int, Field(ge=0)] = 0

    def to_dict(self) -> dict[str, Any]:
        """The recipe as YAML holds it, every default spelled out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def with_method(self, method: Block | str) -> "Recipe":
        """This recipe with another method, at that method's defaults where only its name is given."""
        return Recipe.model_validate({**self.to_dict(), "method": method})
