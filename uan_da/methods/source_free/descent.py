"""How SHOT, NRC, AaD and PLUE train a network: SGD whose rate falls, and is smaller for the backbone."""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from uan_da.models.classifier import Classifier
from uan_da.norms.affine import not_decayed

MOMENTUM, WEIGHT_DECAY, DECAY, POWER = 0.9, 1e-3, 10.0, 0.75


class Descent:
    """SGD with Nesterov momentum, weight decay and the rate lr·(1 + decay·progress)^−0.75.

    Args:
        parts: the parts of a network that move, each with the factor on its rate. What follows the data's own scale
            does not decay.
        lr: the rate of a factor of 1, before it falls.
        total: the number of steps.
        momentum, weight_decay, decay: the defaults are those of SHOT, NRC and AaD.
    """

    def __init__(
        self,
        parts: Sequence[tuple[nn.Module, float]],
        lr: float,
        total: int,
        *,
        momentum: float = MOMENTUM,
        weight_decay: float = WEIGHT_DECAY,
        decay: float = DECAY,
    ) -> None:
        groups: list[dict[str, Any]] = [
            {"params": [parameter], "lr": factor * lr, "weight_decay": weight_decay if decays else 0.0}
            for part, factor in parts
            for parameter, decays in _parameters(part)
        ]
        self.optimizer = torch.optim.SGD(groups, lr=lr, momentum=momentum, nesterov=momentum > 0)
        self.rates = [group["lr"] for group in groups]
        self.moved = [parameter for group in groups for parameter in group["params"]]
        self.done, self.total, self.decay = 0, total, decay

    @property
    def part(self) -> float:
        """The part of the steps that is done, 0 to 1."""
        return self.done / self.total

    def step(self, loss: Tensor) -> None:
        """One step down ``loss``; no other parameter gets a gradient."""
        self.done += 1
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * (1 + self.decay * self.part) ** -POWER
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward(inputs=self.moved)  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def end(self) -> None:
        """After the last step: no gradient stays."""
        self.optimizer.zero_grad(set_to_none=True)


def before_head(model: Classifier, backbone_lr: float) -> list[tuple[nn.Module, float]]:
    """All parts of ``model`` but its head, with the factors on their rates: ``backbone_lr`` up to the bottleneck."""
    return [(model.input_norm, backbone_lr), (model.backbone, backbone_lr), (model.bottleneck, 1.0)]


def _parameters(part: nn.Module) -> Iterator[tuple[nn.Parameter, bool]]:
    """The parameters of a part of the model that train, and whether they decay."""
    for layer in part.modules():
        exempt = not_decayed(layer)
        for name, parameter in layer.named_parameters(recurse=False):
            if parameter.requires_grad:
                yield parameter, name not in exempt
