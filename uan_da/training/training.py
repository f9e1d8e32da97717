"""Everything that one training moves, and the one step that moves it."""

import math
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn

from uan_da.data.task import Task, build_task
from uan_da.methods.method import Loss, Method
from uan_da.models.classifier import Classifier, build_model
from uan_da.recipe import Recipe
from uan_da.seeding import fold


class NonFiniteLoss(ArithmeticError):
    """A loss term became NaN or infinite; the optimizer has not moved."""


@dataclass
class Training:
    """A task, the model and the method that learn it, their optimizer, and how far they are."""

    recipe: Recipe
    task: Task
    model: Classifier
    method: Method
    optimizer: torch.optim.Optimizer
    device: torch.device
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Loss terms and metrics, summed over the steps of the epoch under way."""

    @classmethod
    def build(cls, recipe: Recipe, device: torch.device) -> Self:
        """A training at its first step; everything random in it is a function of the recipe's seed."""
        task = build_task(recipe, device)
        model = build_model(recipe, len(task.classes)).to(device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold(recipe.seed, "method"))
            method = recipe.method(model, len(task.classes)).to(device)
        optimizer = recipe.train.optimizer([model, method])
        return cls(recipe, task, model, method, optimizer, device)

    @property
    def steps_per_epoch(self) -> int:
        """As the recipe says, or one pass over the source."""
        return self.recipe.train.steps_per_epoch or self.task.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Optimizer steps in all."""
        train = self.recipe.train
        return train.steps or (train.epochs or 0) * self.steps_per_epoch

    @property
    def epoch(self) -> int:
        """The number of the epoch that the last step belonged to, from 1."""
        return math.ceil(self.step / self.steps_per_epoch)

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last step ended an epoch, or the training."""
        return self.step % self.steps_per_epoch == 0 or self.step == self.total_steps

    def advance(self) -> Loss:
        """One batch, its loss, one optimizer step.

        Raises:
            NonFiniteLoss: a term of the loss is not finite; names the step and the term. Nothing has moved.
        """
        torch.manual_seed(fold(self.recipe.seed, "step", self.step))
        self.model.train()
        batch = self.task.batch(self.step, self.method.views)
        loss = self.method.loss(self.model, batch, self.step / self.total_steps)
        total = loss.total
        if not bool(total.isfinite()):  # one look a step: it makes a GPU wait
            raise NonFiniteLoss(f"step {self.step + 1}: {_not_finite(loss)}")
        factor = self.recipe.train.schedule(self.step, self.total_steps)
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])
        self.optimizer.zero_grad(set_to_none=True)
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.step += 1
        for name, value in {"loss": total, **loss.terms, **loss.metrics}.items():
            self.sums[name] = value.detach() + self.sums.get(name, 0.0)
        return loss

    def take_averages(self) -> dict[str, float]:
        """Mean loss terms and metrics of the epoch that just ended; the next one starts from zero."""
        steps = self.step - (self.epoch - 1) * self.steps_per_epoch
        averages = {name: float(total) / steps for name, total in self.sums.items()}
        self.sums = {}
        return averages

    def state_dict(self) -> dict[str, Any]:
        """All state: random numbers are functions of the step, so that there is no more."""
        assert isinstance(self.method, nn.Module)
        return {
            "step": self.step,
            "sums": dict(self.sums),
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        assert isinstance(self.method, nn.Module)
        self.step, self.sums = int(state["step"]), dict(state["sums"])
        self.model.load_state_dict(state["model"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])


def _not_finite(loss: Loss) -> str:
    bad = {name: float(value) for name, value in loss.terms.items() if not bool(value.isfinite())}
    if not bad:
        return "the sum of the loss terms overflows"
    return ", ".join(f"the loss term {name!r} is {value}" for name, value in bad.items())
