"""The keys of a recipe for the network besides its backbone: input, bottleneck, head."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from uan_da.recipe.strict import Strict

Side = Annotated[int, Field(gt=0, le=4096)]
"""Pixels."""
Width = Annotated[int, Field(gt=0, le=65536)]
"""Features of a layer."""


class Input(Strict):
    """How an image becomes the network's input. Published weights bring the size, mean and std that a recipe leaves
    out."""

    size: Side = 32
    """Side in pixels; images of another size are resized (bilinear, antialiased)."""
    resize: Literal["square", "short"] = "square"
    """How an image that is not square is resized: ``square`` stretches it; ``short`` resizes its short side to
    ``size`` and crops the centre."""
    crop: Side | None = None
    """Side of the centre crop that the network sees, unless an augmentation has cropped the image already."""
    channels: Literal[1, 3] = 3
    """Grey images are repeated over three channels, colour images become luminance for one."""
    mean: float | tuple[float, float, float] = 0.5
    std: Annotated[float, Field(gt=0)] | tuple[float, float, float] = 0.5
    """The network sees (x − mean) / std, x in [0, 1]."""

    @property
    def side(self) -> int:
        """Side of the network's input."""
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


Probability = Annotated[float, Field(ge=0, lt=1)]


class Bottleneck(Strict):
    """The layer between backbone and head: linear, BatchNorm, activation, dropout."""

    features: Width = 256
    norm: bool = True
    """BatchNorm; the recipe's ``norm`` does not replace it."""
    activation: Literal["relu", "none"] = "relu"
    dropout: Probability = 0.0
    dropout_keeps: Literal["mean", "norm"] = "mean"
    """What dropout preserves on average: ``mean``, each feature (kept features times 1/(1 − p)), or ``norm``, the
    squared length of the feature vector (kept features times 1/√(1 − p), as AFN does)."""
    init_std: PositiveFloat | None = None
    """Initial weights from N(0, std²), biases 0.  [default: PyTorch's]"""


class Head(Strict):
    """The classifier on the features: hidden layers (linear, BatchNorm, ReLU), then a linear layer."""

    hidden: tuple[Width, ...] = ()
    """Widths of the hidden layers."""
    norm: bool = False
    """BatchNorm after each hidden layer."""
    logits_norm: bool = False
    """BatchNorm on the logits."""
    dropout: Probability | tuple[Probability, ...] = 0.0
    """One probability before each linear layer, first to last; one number: before all but the first."""
    init_std: PositiveFloat | None = None
    """Initial weights from N(0, std²), biases 0.  [default: PyTorch's]"""
    cosine: PositiveFloat | None = None
    """The last layer is the cosine of the features and a weight of each class, over this temperature."""

    @property
    def dropouts(self) -> tuple[float, ...]:
        """The dropout before each linear layer."""
        return self.dropout if isinstance(self.dropout, tuple) else (0.0, *(self.dropout for _ in self.hidden))

    @model_validator(mode="after")
    def _dropout_has_a_place(self) -> Self:
        layers = len(self.hidden) + 1
        if isinstance(self.dropout, tuple) and len(self.dropout) != layers:
            raise ValueError(f"'dropout' needs one number, or one for each of the {layers} linear layers")
        if not self.hidden and self.dropout and not isinstance(self.dropout, tuple):
            raise ValueError("'dropout' applies between layers, and 'hidden' has none: see bottleneck.dropout")
        return self
