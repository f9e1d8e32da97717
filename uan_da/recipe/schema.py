"""What a recipe may say."""

from typing import Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PlainSerializer,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    field_validator,
    model_validator,
)

from uan_da.names import AUGMENTATIONS, BACKBONES, METHODS, NORMS, OPTIMIZERS, SCHEDULES, VALIDATORS
from uan_da.recipe.block import Block, Strict, block


class TaskName(Strict):
    """``source:target``; several sources are joined by ``+``: ``mnist+usps:svhn``. One domain alone, ``cifar10``, is
    classification without adaptation: it is its own target."""

    sources: tuple[str, ...]
    target: str

    def __str__(self) -> str:
        return self.target if self.alone else f"{'+'.join(self.sources)}:{self.target}"

    @property
    def alone(self) -> bool:
        """Whether the task is one domain, with nothing to adapt to."""
        return self.sources == (self.target,)

    @property
    def domains(self) -> tuple[str, ...]:
        """All domains, the target last: a domain's place here is its index."""
        return self.sources if self.alone else (*self.sources, self.target)


def parse_task(text: Any) -> TaskName:
    """``A:B``, ``A→B``, ``A+B:C`` or ``A`` alone as a task; ValueError where it is none."""
    if isinstance(text, TaskName):
        return text
    if not isinstance(text, str):
        raise ValueError(f"expected SOURCE:TARGET, but got {text!r}")
    left, colon, target = text.replace("→", ":").partition(":")
    sources = tuple(name.strip() for name in left.split("+"))
    target = target.strip()
    if not colon and len(sources) == 1 and sources[0]:
        return TaskName(sources=sources, target=sources[0])
    if not colon or not target or not all(sources) or ":" in target:
        raise ValueError(f"expected SOURCE:TARGET (several sources: A+B:TARGET), but got {text!r}")
    if len({*sources, target}) <= len(sources):
        raise ValueError(f"a domain stands twice in {text!r}")
    return TaskName(sources=sources, target=target)


class Input(Strict):
    """How an image becomes the network's input: said, not guessed."""

    size: PositiveInt = 32
    """Side in pixels; images of another size are resized (bilinear, antialiased)."""
    crop: PositiveInt | None = None
    """The network sees the centre of that side, where an augmentation has not cropped the image already."""
    channels: Literal[1, 3] = 3
    """Grey images are repeated over three channels, colour images become luminance for one."""
    mean: float | tuple[float, float, float] = 0.5
    std: Annotated[float, Field(gt=0)] | tuple[float, float, float] = 0.5
    """The network sees (x − mean) / std, x in [0, 1]."""

    @property
    def side(self) -> int:
        """Side of what the network sees."""
        return self.crop or self.size

    @model_validator(mode="after")
    def _fits_an_image(self) -> Self:
        if self.side > self.size:
            raise ValueError(f"'crop' {self.crop} is larger than 'size' {self.size}")
        for name, value in (("mean", self.mean), ("std", self.std)):
            if isinstance(value, tuple) and self.channels != len(value):
                raise ValueError(
                    f"{name!r} has {len(value)} numbers, and 'channels' is {self.channels}: give one number"
                )
        if isinstance(self.std, tuple) and not all(value > 0 for value in self.std):
            raise ValueError(f"'std' must be greater than 0 in every channel, but is {list(self.std)}")
        return self


class BackboneKeys(Strict):
    """Keys of every backbone beside its own options."""

    weights: str = "none"
    """What it starts from: ``none``; ``default``, the published weights; the name of other published ones, such as
    ``IMAGENET1K_V1``; or the path of a state dict, ``.pt``, ``.pth`` or ``.safetensors``."""


Probability = Annotated[float, Field(ge=0, lt=1)]


class Bottleneck(Strict):
    """The layer between backbone and head: linear, BatchNorm, activation, dropout."""

    features: PositiveInt = 256
    norm: bool = True
    """BatchNorm, which stays one: the recipe's ``norm`` is the backbone's."""
    activation: Literal["relu", "none"] = "relu"
    dropout: Probability = 0.0
    init_std: PositiveFloat | None = None
    """Initial weights from N(0, std²), biases 0.  [default: PyTorch's]"""


class Head(Strict):
    """The classifier on the features: a linear layer, behind hidden ones (linear, BatchNorm, ReLU)."""

    hidden: tuple[PositiveInt, ...] = ()
    """Widths of the hidden layers."""
    norm: bool = False
    """BatchNorm after each hidden layer."""
    dropout: Probability | tuple[Probability, ...] = 0.0
    """In front of each linear layer, first to last; one number: in front of all but the first."""
    init_std: PositiveFloat | None = None
    """Initial weights from N(0, std²), biases 0.  [default: PyTorch's]"""

    @property
    def dropouts(self) -> tuple[float, ...]:
        """One for each linear layer."""
        return self.dropout if isinstance(self.dropout, tuple) else (0.0, *(self.dropout for _ in self.hidden))

    @model_validator(mode="after")
    def _dropout_has_a_place(self) -> Self:
        layers = len(self.hidden) + 1
        if isinstance(self.dropout, tuple) and len(self.dropout) != layers:
            raise ValueError(f"'dropout' needs one number, or one for each of the {layers} linear layers")
        if not self.hidden and self.dropout and not isinstance(self.dropout, tuple):
            raise ValueError("'dropout' stands between layers, and there is no 'hidden' one: see bottleneck.dropout")
        return self


class NormKeys(Strict):
    """Keys of every norm beside its own options."""

    where: str = "all"
    """Which normalisation layers: ``all``, ``first``, ``last``, ``input`` or ``re:PATTERN`` over module names."""
    input: Literal["none", "instance"] = "none"
    """``instance`` puts instance normalisation in front of the network."""

    @model_validator(mode="after")
    def _one_norm_in_front(self) -> Self:
        if self.where == "input" and self.input == "instance":
            raise ValueError(
                "'where: input' and 'input: instance' both put a norm in front of the network: leave one out"
            )
        return self


class MethodKeys(Strict):
    """Keys of every method beside its own options."""

    routing: Literal["joint", "separate"] | None = None
    """Source and target in one forward, with shared batch statistics, or in one each.  [default: the paper's way]"""
    pretrain_epochs: NonNegativeInt | None = None
    """Epochs before the method's own, on top of ``train``: on the source alone, or what the method pre-trains with (in
    DIRT-T, VADA).  [default: the paper's]"""
    pretrain_lr: PositiveFloat | None = None
    """The learning rate of those epochs.  [default: the optimizer's]"""
    then: tuple[block(METHODS), ...] = ()  # type: ignore[valid-type]
    """Other methods whose terms are added to the loss; they share the forward."""


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
    """Batches, in place of epochs; those of a pre-training come on top. A method of several phases (MCD, SWD, ADDA)
    makes several optimizer steps with each."""
    steps_per_epoch: PositiveInt | None = None
    """Default: one pass over the source."""
    batch: Batch = Batch()
    optimizer: block(OPTIMIZERS) = Field(default="adam", validate_default=True)  # type: ignore[valid-type]
    schedule: block(SCHEDULES) = Field(default="constant", validate_default=True)  # type: ignore[valid-type]
    warm_up: NonNegativeInt = 0
    """Steps over which the learning rate rises to what the schedule says, in a straight line."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Evaluate and keep the exponential moving average of the weights with this decay, in place of the last ones."""
    checkpoint_minutes: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 10
    """A checkpoint is written as often, beside those at each epoch's end. It may be a fraction."""

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


class Published(Strict):
    """A figure that somebody else published, to stand beside ours with its source and its protocol."""

    method: str
    """As its source calls it: it need not be one of ours."""
    norm: str | None = None
    task: Annotated[TaskName, BeforeValidator(parse_task), PlainSerializer(str)]
    accuracy: Annotated[float, Field(gt=1, le=100)]
    """Of the target's test images, in percent."""
    source: str
    """Where it was read: a paper, a table, a repository."""
    protocol: str
    """What a reader must know to compare: backbone, length, runs."""
    oracle: bool
    """Whether the checkpoint was chosen by target labels."""


def published_rows(value: Any) -> Any:
    """A table ``{source, protocol, oracle, accuracy: {METHOD+NORM: {TASK: figure}}}`` as the rows it stands for."""
    rows: list[Any] = []
    for item in value if isinstance(value, list) else []:
        table = item.get("accuracy") if isinstance(item, dict) else None
        if not isinstance(table, dict):
            rows.append(item)
            continue
        for name, figures in table.items():
            method, _, norm = str(name).partition("+")
            rows += [
                {**item, "method": method, "norm": norm or None, "task": task, "accuracy": figure}
                for task, figure in (figures.items() if isinstance(figures, dict) else [(None, figures)])
            ]
    return rows if isinstance(value, list) else value


class Recipe(Strict):
    """One training, complete: task, backbone, norm, method, schedule, seed."""

    version: Literal[1] = Field(default=1, alias="schema")
    description: str = ""
    dataset: str
    task: Annotated[TaskName, BeforeValidator(parse_task), PlainSerializer(str)]
    input: Input = Input()
    backbone: block(BACKBONES, BackboneKeys)  # type: ignore[valid-type]
    bottleneck: Bottleneck | None = None
    head: Head = Head()
    norm: block(NORMS, NormKeys) = Field(default="bn", validate_default=True)  # type: ignore[valid-type]
    method: block(METHODS, MethodKeys) = Field(default="source_only", validate_default=True)  # type: ignore[valid-type]
    augment: Augment = Augment()
    train: Train
    selection: Selection = Field(default_factory=Selection)
    evaluation: Evaluation = Evaluation()
    init: str | None = None
    """A run folder: start from the weights that it ended with."""
    seed: Annotated[int, Field(ge=0)] = 0
    published: Annotated[tuple[Published, ...] | None, BeforeValidator(published_rows)] = None
    """Figures of others on these tasks; no training reads them."""

    @field_validator("method")
    @classmethod
    def _method_fits(cls, method: Block, info: ValidationInfo) -> Block:
        """What a method cannot do is refused with the reason."""
        for each in (method, *method.keys["then"]):
            if getattr(each.target, "source_free", False):
                raise ValueError(
                    f"{each.name!r} does not train: it adapts a trained run to images, "
                    f"uan-da adapt RUN IMAGES_FOLDER --method {each.name}"
                )
        task, transfers = info.data.get("task"), hasattr(method.target, "transfer")
        if task and task.alone and getattr(method.target, "uses_target", True):
            raise ValueError(
                f"{method.name!r} adapts to a target, and the task {task} has none: "
                f"use source_only, or a task {task}:TARGET"
            )
        if method.keys.get("pretrain_lr") is not None and method.keys.get("pretrain_epochs") is None:
            raise ValueError(
                f"{method.name!r} has no pre-training for 'pretrain_lr': give 'pretrain_epochs', or train.optimizer.lr"
            )
        if not transfers and (method.keys.get("routing") or method.keys["then"]):
            raise ValueError(f"{method.name!r} makes its own forwards: 'routing' and 'then' have no meaning for it")
        for added in method.keys["then"]:
            if not hasattr(added.target, "transfer"):
                raise ValueError(f"{added.name!r} makes its own forwards, and cannot be added to {method.name!r}")
        return method

    @model_validator(mode="after")
    def _batches_have_statistics(self) -> Self:
        """A BatchNorm of features has one value of each image: of one image alone there is no variance."""
        normed = (self.bottleneck is not None and self.bottleneck.norm) or (self.head.norm and self.head.hidden)
        if normed and self._smallest_forward == 1:
            raise ValueError(
                f"train.batch: {self.method.name!r} sends one image alone through the network, and the BatchNorm of "
                "bottleneck or head needs two: give larger batches, or bottleneck.norm=false and head.norm=false"
            )
        return self

    @property
    def _smallest_forward(self) -> int | None:
        """Images of the smallest forward of a step; None where the method alone knows."""
        method, batch = self.method, self.train.batch
        source = batch.source * len(self.task.sources)
        if "separate" in (method.keys.get("routing"), method.options.get("routing")):
            return min(source, batch.target)
        pretrains = method.keys.get("pretrain_epochs") and not hasattr(method.target, "pretrain_loss")
        return source if pretrains or not getattr(method.target, "uses_target", True) else None

    @property
    def target_index(self) -> int:
        """The number by which norms know the target: the last source's, where the method is shown no target image, for
        then nothing has trained a branch of the target's own. (TransNorm evaluates all images by that branch.)"""
        last = len(self.task.domains) - 1
        own = getattr(self.method.target, "uses_target", True) or self.norm.name == "transnorm"
        return last if own else max(0, last - 1)

    def to_dict(self) -> dict[str, Any]:
        """The recipe as YAML holds it, every default spelled out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    @property
    def meaning(self) -> dict[str, Any]:
        """The recipe without the keys that change no number."""
        kept = {key: value for key, value in self.to_dict().items() if key not in ("description", "published")}
        return kept | {"train": {key: v for key, v in kept["train"].items() if key != "checkpoint_minutes"}}

    def source_only(self) -> "Recipe":
        """The baseline of this recipe: ``source_only`` in the method's place, from no other run's weights."""
        return Recipe.model_validate({**self.to_dict(), "method": "source_only", "init": None})
