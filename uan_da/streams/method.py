"""What every stream method is: it answers a batch, and may learn from it afterwards."""

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
    """What a method may know beside the network and the stream: never a label, never a later image."""

    input: Input
    """How pixels become the network's input."""
    domain: int
    """The index by which norms that keep domains apart know the stream."""
    batch: int
    """Images that come at once."""
    weak: Sequence[Augmentation] = ()
    strong: Sequence[Augmentation] = ()
    """The views of the run's recipe."""
    seed: int = 0
    device: torch.device = CPU
    source: Callable[[int], Tensor] | None = None
    """Pixels of so many source images, for the methods that say that they need some."""

    def seen(self, pixels: Tensor) -> Tensor:
        """What the network sees of ``pixels`` ``(B, C, H, W)``, bytes."""
        return augmented(pixels, (), self.input, None).contiguous(memory_format=torch.channels_last)

    def augmented(self, pixels: Tensor, views: Sequence[Augmentation], *names: str | int) -> Tensor:
        """The same of an augmented view, whose draws are a function of the seed and ``names``."""
        random = generator(self.seed, "stream", *names)
        return augmented(pixels, views, self.input, random).contiguous(memory_format=torch.channels_last)


class Left(NamedTuple):
    """A network, and the ``norm`` block of its recipe where that is not the source's."""

    model: Classifier
    norm: Mapping[str, Any] | None


class StreamMethod(BaseMethod):
    """A method for streams, built as ``Method(model, num_classes, surroundings, **options)`` with keyword-only options.

    The model is the method's own and may be changed. A method starts anew by being built anew.
    """

    needs: ClassVar[str] = "a trained run and a stream of target images"
    used_by: ClassVar[str] = "it adapts a trained run while it answers, uan-da stream RUN --method"
    updates: ClassVar[str]
    """What it changes, in a few words."""
    gradients: ClassVar[bool] = False
    """Whether it takes gradients."""
    forwards: ClassVar[float] = 1.0
    backwards: ClassVar[float] = 0.0
    """Forwards and backwards of an image through the network, at the defaults."""

    def __init__(self, model: Classifier, num_classes: int, surroundings: Surroundings) -> None:
        super().__init__()
        self._source_bytes = sum(tensor.nbytes for tensor in (*model.parameters(), *model.buffers()))
        self.model = model.eval().requires_grad_(False)
        self.num_classes, self.surroundings = num_classes, surroundings

    def answer(self, pixels: Tensor) -> Tensor:
        """Logits ``(B, classes)`` of the next images ``pixels`` ``(B, C, H, W)``, bytes; they need not be normalised.

        Called once a batch. What it learns from this batch shows in later answers, or in these as well where the paper
        has it so.
        """
        return self.forward_model(self.surroundings.seen(pixels)).logits

    def forward_model(self, images: Tensor, model: Classifier | None = None) -> Output:
        """The model's output on ``images`` as the network sees them, in the stream's domain."""
        model = self.model if model is None else model
        with domain_context(model, self.surroundings.domain):
            output: Output = model(images)
        return output

    def leaves(self) -> "Left":
        """The network that it has made of the source's, to be saved and used without it.

        Raises:
            UserError: what it keeps is in no network that a run can hold.
        """
        if any(type(layer).__module__.startswith("uan_da.streams") for layer in self.model.modules()):
            raise UserError("its norms exist only while streaming, so the network cannot be saved as a run")
        return Left(self.model, None)

    def kept(self) -> Iterable[Tensor]:
        """Tensors that it keeps beside its modules': of optimizers, memories, copies of parameters."""
        return ()

    def stored_bytes(self) -> int:
        """Bytes that it keeps beyond the source network's."""
        own = sum(tensor.nbytes for tensor in (*self.parameters(), *self.buffers()))
        return own - self._source_bytes + sum(tensor.nbytes for tensor in self.kept())


def needs_source(surroundings: Surroundings, method: str) -> Callable[[int], Tensor]:
    """The source images, or a :class:`UserError` that says that ``method`` cannot do without."""
    if surroundings.source is None:
        raise UserError(f"{method} estimates what to keep on source images, and the run's data are not here")
    return surroundings.source
