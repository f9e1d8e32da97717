"""The base class of stream methods: a method predicts a batch, and may learn from it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple

import torch
from torch import Tensor

from uan_da.data.augment import Augmentation
from uan_da.data.views import augmented
from uan_da.errors import UserError
from uan_da.methods.method import BaseMethod
from uan_da.models.classifier import Classifier, Output
from uan_da.norms import domain_context
from uan_da.recipe.network import Input
from uan_da.seeding import generator

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Surroundings:
    """What a method may use besides the network and the stream: never a label, never a later image."""

    input: Input
    """The preprocessing of pixels for the network."""
    domain: int
    """The domain index of the stream, for norms with statistics per domain."""
    batch: int
    """Images per batch."""
    weak: Sequence[Augmentation] = ()
    strong: Sequence[Augmentation] = ()
    """The views of the run's recipe."""
    seed: int = 0
    device: torch.device = CPU
    source: Callable[[int], Tensor] | None = None
    """Returns the pixels of that many source images, for methods that need some."""

    def seen(self, pixels: Tensor) -> Tensor:
        """The network's input for ``pixels`` ``(B, C, H, W)``, bytes."""
        return augmented(pixels, (), self.input, None)

    def augmented(self, pixels: Tensor, views: Sequence[Augmentation], *names: str | int) -> Tensor:
        """The network's input for an augmented view; its random draws are a function of the seed and ``names``."""
        return augmented(pixels, views, self.input, generator(self.seed, "stream", *names))


class Left(NamedTuple):
    """A network, and the ``norm`` block of its recipe if it differs from the source's."""

    model: Classifier
    norm: Mapping[str, Any] | None


class StreamMethod(BaseMethod):
    """A method for streams, built as ``Method(model, num_classes, surroundings, **options)`` with keyword-only options.

    The model is the method's own copy, which it may change. To reset a method, build it again.
    """

    needs: ClassVar[str] = "a trained run and a stream of target images"
    used_by: ClassVar[str] = "it adapts a trained run while it predicts, uan-da stream RUN --method"
    updates: ClassVar[str]
    """What it changes, in a few words."""
    gradients: ClassVar[bool] = False
    """Whether it uses gradients."""
    forwards: ClassVar[float] = 1.0
    backwards: ClassVar[float] = 0.0
    """Forward and backward passes per image, at the defaults."""

    def __init__(self, model: Classifier, num_classes: int, surroundings: Surroundings) -> None:
        super().__init__()
        self._source_bytes = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        self.model = model.eval().requires_grad_(False)
        self.num_classes, self.surroundings = num_classes, surroundings

    def predict(self, pixels: Tensor) -> Tensor:
        """Logits ``(B, classes)``, up to a constant per image, of the next images ``pixels`` ``(B, C, H, W)``, bytes.

        Called once for each batch. What it learns from a batch affects later predictions, and also those of the batch
        itself if the paper does so.
        """
        return self.forward_model(self.surroundings.seen(pixels)).logits

    def forward_model(self, images: Tensor, model: Classifier | None = None) -> Output:
        """The model's output on preprocessed ``images``, in the stream's domain."""
        model = self.model if model is None else model
        with domain_context(model, self.surroundings.domain):
            output: Output = model(images)
        return output

    def leaves(self) -> "Left":
        """The adapted network, to be saved and used without the method.

        Raises:
            UserError: a run cannot store what the method has learned.
        """
        if any(type(layer).__module__.startswith("uan_da.streams") for layer in self.model.modules()):
            raise UserError("its norms exist only while streaming, so the network cannot be saved as a run")
        return Left(self.model, None)

    def kept(self) -> Iterable[Tensor]:
        """Tensors that it keeps besides those of its modules: of optimizers, memories, copies of parameters."""
        return ()

    def stored_bytes(self) -> int:
        """Bytes that it stores in addition to the source network's."""
        own = sum(tensor.nbytes for tensor in (*self.parameters(), *self.buffers()))
        return own - self._source_bytes + sum(tensor.nbytes for tensor in self.kept())


def needs_source(surroundings: Surroundings, method: str) -> Callable[[int], Tensor]:
    """The source images; a :class:`UserError` if there are none, because ``method`` needs them."""
    if surroundings.source is None:
        raise UserError(f"{method} needs source images, but the run's data are not here: see --data-root")
    return surroundings.source
