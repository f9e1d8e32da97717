"""From a recipe's method to the loss of a batch, for the methods that share one forward of both domains."""

from collections.abc import Sequence
from typing import ClassVar

from torch import nn
from torch.nn import functional as F

from uan_da.data.batch import DomainBatch, View
from uan_da.errors import UserError
from uan_da.methods.method import NOT_SHARED, Loss, Method, Progress, Transfer
from uan_da.methods.routing import Routing, forward
from uan_da.models.classifier import Classifier
from uan_da.recipe import Block


def build_method(block: Block, model: Classifier, num_classes: int) -> Method:
    """The method of a recipe, on the model's device; those that :class:`Transfer` describes, and what ``then`` adds to
    them, as one.

    Raises:
        UserError: a method of the shared forward has a part that needs a training to itself.
    """
    method = block(model, num_classes)
    if hasattr(method, "transfer"):
        blocks = [block, *block.keys["then"]]
        methods = [method, *(other(model, num_classes) for other in blocks[1:])]
        for each, one in zip(blocks, methods, strict=True):
            _check_shares(each.name, one)
        method = TransferLoss(methods, block.keys["routing"])
    built: Method = method.to(next(model.parameters()).device)
    return built


def _check_shares(name: str, method: Transfer) -> None:
    own = [part for part in NOT_SHARED if hasattr(method, part)]
    if own:
        raise UserError(
            f"method {name!r} has 'transfer' and {own[0]!r}, which would never be called: methods that share one "
            f"forward have no {', '.join(NOT_SHARED)}; give it a 'loss' in place of 'transfer'"
        )


class TransferLoss(nn.Module):
    """CE(f(x_S), y_S) plus the terms of each of ``methods``, all of one forward of the weak views."""

    views: ClassVar[tuple[View, ...]] = ("weak",)
    needs: ClassVar[str] = "target images"

    def __init__(self, methods: Sequence[Transfer], routing: Routing) -> None:
        super().__init__()
        self.routing = routing
        self.methods = nn.ModuleList(methods)  # type: ignore[arg-type]

    def loss(self, model: Classifier, batch: DomainBatch, progress: Progress) -> Loss:
        """The loss of one batch; where two methods name a term alike, the second's gets a number."""
        labels = batch.source.labels
        images, domains = [batch.source.weak, batch.target.weak], [batch.source.domain, batch.target.domain]
        source, target = forward(model, images, domains, self.routing)
        whole = Loss({"source": F.cross_entropy(source.logits, labels)})
        for number, method in enumerate(self.methods, 1):
            own: Loss = method.transfer(source, target, labels, progress)  # type: ignore[operator]
            for into, values in ((whole.terms, own.terms), (whole.metrics, own.metrics)):
                into.update({f"{name}_{number}" if name in into else name: value for name, value in values.items()})
        return whole
