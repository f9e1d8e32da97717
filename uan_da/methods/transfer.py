"""From a recipe's method to the object that a training calls."""

from collections.abc import Sequence

from torch import nn

from uan_da.data.domain_batch import DomainBatch
from uan_da.errors import UserError
from uan_da.methods.method import Ascent, Loss, Method, Phase, Progress, TransferMethod, shared_loss
from uan_da.methods.routing import Routing
from uan_da.models.classifier import Classifier
from uan_da.recipe.blocks import MethodBlock

NOT_SHARED = {"loss", "phases", "pretrain_loss", "predictor"}
"""Parts of a :class:`Method` that need a training to themselves, so that a :class:`TransferMethod` cannot have them."""


class TransferLoss(Method):
    """Several methods that share one forward, as one: CE(f(x_S), y_S) plus the terms of each."""

    def __init__(self, methods: Sequence[TransferMethod], routing: Routing) -> None:
        super().__init__()
        self.routing = routing
        self.methods = nn.ModuleList(methods)
        self._parts = tuple(methods)  # a ModuleList looks each of them up
        self.parallel = all(method.parallel for method in methods)
        self.sdat_radius = max(method.sdat_radius for method in methods)

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch."""
        return shared_loss(self._parts, self.routing, model, batch, progress)

    def task_loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The same without the terms that bring the domains together."""
        chosen = [method for method in self._parts if method.on_predictions]
        return shared_loss(chosen, self.routing, model, batch, progress)

    def phases(self, model: Classifier) -> Sequence[Phase]:
        """One step, its gradient taken up the task loss where a method has SDAT."""
        ascent = Ascent(self.task_loss, self.sdat_radius) if self.sdat_radius else None
        return [Phase("", self.loss, ascent=ascent)]

    def prepare(self, model: Classifier, target_images: int) -> None:
        """Tell each."""
        for method in self._parts:
            method.prepare(model, target_images)

    def start(self, model: Classifier) -> None:
        """Tell each."""
        for method in self._parts:
            method.start(model)

    def after_step(self, model: Classifier) -> None:
        """Tell each."""
        for method in self._parts:
            method.after_step(model)


def build_method(block: MethodBlock, model: Classifier, num_classes: int) -> Method:
    """The method of a recipe, on the model's device; a :class:`TransferMethod` and what ``then`` adds to it, as one.

    Raises:
        UserError: the class lacks a part, or has one that would never be called.
    """
    method: Method = block(model, num_classes)
    _check(block.name, method)
    if isinstance(method, TransferMethod):
        added: list[TransferMethod] = [each(model, num_classes) for each in block.then]
        for each, one in zip(block.then, added, strict=True):
            _check(each.name, one)
        method = TransferLoss([method, *added], block.routing or method.routing)
    return method.to(next(model.parameters()).device)


def _check(name: str, method: Method) -> None:
    ancestors = type(method).__mro__
    base = TransferMethod if isinstance(method, TransferMethod) else Method
    own = {part for cls in ancestors[: ancestors.index(base)] for part in vars(cls)}
    if base is Method and not own & {"loss", "phases"}:
        raise UserError(f"method {name!r} lacks 'loss': a Method defines its loss, or its phases")
    if base is TransferMethod and not own & {"transfer", "terms"}:
        raise UserError(f"method {name!r} lacks 'transfer': the terms that it adds to the source's cross-entropy")
    if base is TransferMethod and own & NOT_SHARED:
        raise UserError(
            f"method {name!r} has 'transfer' and {min(own & NOT_SHARED)!r}, which would never be called: methods that "
            f"share one forward have no {', '.join(sorted(NOT_SHARED))}; inherit Method, and give it the whole loss"
        )
