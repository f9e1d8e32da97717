"""Everything that one training moves, and the one step that moves it."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from uan_da.data.batch import DomainBatch
from uan_da.data.task import Task, build_task
from uan_da.errors import UserError
from uan_da.methods.method import Loss, Method, Phase, Progress
from uan_da.methods.source_only import source_loss
from uan_da.methods.transfer import build_method
from uan_da.models.classifier import Classifier, build_model
from uan_da.recipe import Recipe
from uan_da.seeding import fold
from uan_da.training.run import Run


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
    average: AveragedModel | None = None
    """The moving average of the model's weights, where the recipe asks for it."""
    step: int = 0
    sums: dict[str, Tensor] = field(default_factory=dict)
    """Loss terms and metrics, summed over the steps of the epoch under way."""

    @classmethod
    def build(cls, recipe: Recipe, device: torch.device, *, fresh: bool = True) -> Self:
        """A training at its first step; everything random in it is a function of the recipe's seed.

        Without ``fresh`` the weights that it would start from are not read: a checkpoint's take their place.
        """
        task = build_task(recipe, device)
        model = build_model(recipe, len(task.classes), pretrained=fresh and recipe.init is None).to(device)
        if fresh and recipe.init is not None:
            Run.open(recipe.init).start_from(model, device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold(recipe.seed, "method"))
            method = build_method(recipe.method, model, len(task.classes))
        optimizer = recipe.train.optimizer([model, method])
        decay = recipe.train.ema
        if decay is not None and hasattr(method, "predictor"):
            raise UserError(
                f"train.ema: {recipe.method.name!r} answers with an average of its own; leave train.ema out"
            )
        average = None if decay is None else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        return cls(recipe, task, model, method, optimizer, device, average)

    @property
    def answering(self) -> Classifier:
        """The network that is evaluated and kept: the model, its moving average, or what the method answers with."""
        if self.average is not None:
            assert isinstance(self.average.module, Classifier)
            return self.average.module
        predictor: Callable[[Classifier], Classifier] | None = getattr(self.method, "predictor", None)
        return self.model if predictor is None or self._source_alone(self.step) else predictor(self.model)

    def _source_alone(self, step: int) -> bool:
        """Whether the first ``step`` steps are, or end in, a pre-training that the method has no part in."""
        return 0 < step <= self.pretrain_steps and not hasattr(self.method, "pretrain_loss")

    @property
    def steps_per_epoch(self) -> int:
        """As the recipe says, or one pass over the source."""
        return self.recipe.train.steps_per_epoch or self.task.steps_per_epoch

    @property
    def pretrain_steps(self) -> int:
        """Steps before the method's own."""
        return (self.recipe.method.keys["pretrain_epochs"] or 0) * self.steps_per_epoch

    @property
    def total_steps(self) -> int:
        """Batches in all, those of the pre-training included."""
        train = self.recipe.train
        return self.pretrain_steps + (train.steps or (train.epochs or 0) * self.steps_per_epoch)

    @property
    def progress(self) -> Progress:
        """How far the pre-training is, and after it the method."""
        if self.step < self.pretrain_steps:
            return Progress(self.step, self.pretrain_steps)
        return Progress(self.step - self.pretrain_steps, self.total_steps - self.pretrain_steps)

    @property
    def epoch(self) -> int:
        """The number of the epoch that the last step belonged to, from 1."""
        return math.ceil(self.step / self.steps_per_epoch)

    @property
    def at_epoch_end(self) -> bool:
        """Whether the last step ended an epoch, or the training."""
        return self.step % self.steps_per_epoch == 0 or self.step == self.total_steps

    def advance(self) -> None:
        """One batch through each phase of the method; one optimizer step a phase.

        Raises:
            NonFiniteLoss: a term of a loss is not finite; names the step and the term. Its phase has moved nothing.
            UserError: the batch is too small for a norm.
        """
        torch.manual_seed(fold(self.recipe.seed, "step", self.step))
        if self.step == self.pretrain_steps:
            self._start_method()
        self.model.train()
        self._set_learning_rate()
        batch, values = self._batch(), dict[str, Tensor]()
        for phase in self._phases():
            values |= self._run(phase, batch, values.get("loss", 0.0))
        self._after_step()
        self.step += 1
        for name, value in values.items():
            self.sums[name] = value + self.sums.get(name, 0.0)

    def _batch(self) -> DomainBatch:
        """This step's images: no more than its losses read."""
        if self._source_alone(self.step + 1):
            return self.task.batch(self.step, ("weak",), with_target=False)
        return self.task.batch(
            self.step,
            self.method.views,
            with_target=getattr(self.method, "uses_target", True),
            target_labels=getattr(self.method, "reads_target_labels", False),
        )

    def _run(self, phase: Phase, batch: DomainBatch, before: Tensor | float) -> dict[str, Tensor]:
        """The steps of a phase; its terms and metrics in the last of them, and ``loss``, added to that of the phases
        before. Nothing of a step's graph outlives it."""
        for _ in range(phase.times):
            loss = self._loss(phase, batch)
            self._minimize(loss, phase)
            values = {f"{phase.name}{name}": value.detach() for name, value in {**loss.terms, **loss.metrics}.items()}
            values["loss"] = loss.total.detach() + before
            del loss
        return values

    def _loss(self, phase: Phase, batch: DomainBatch) -> Loss:
        try:
            return phase.loss(self.model, batch, self.progress)
        except ValueError as error:
            if not str(error).startswith("Expected more than 1 value"):  # as PyTorch's BatchNorm begins
                raise
            sides = "train.batch.source and train.batch.target"
            raise UserError(
                f"a BatchNorm cannot train on so little: {error}. Raise {sides}, or take another norm"
            ) from None

    def _phases(self) -> Sequence[Phase]:
        """What is done with the batch: the pre-training's step, the method's own phases, or its one loss."""
        if self.step < self.pretrain_steps:
            return [Phase("", getattr(self.method, "pretrain_loss", source_loss))]
        phases: Callable[[Classifier], Sequence[Phase]] | None = getattr(self.method, "phases", None)
        return [Phase("", self.method.loss)] if phases is None else phases(self.model)

    def _start_method(self) -> None:
        """Right before the method's first own step: what a pre-training left in the optimizer is dropped."""
        self.optimizer.state.clear()
        if hasattr(self.method, "start"):
            self.method.start(self.model)

    def _set_learning_rate(self) -> None:
        train, pretrain_lr = self.recipe.train, self.recipe.method.keys["pretrain_lr"]
        factor = train.schedule(self.progress.step, self.progress.total)
        factor *= min(1.0, (self.progress.step + 1) / max(1, train.warm_up))
        if self.step < self.pretrain_steps and pretrain_lr is not None:
            factor *= pretrain_lr / train.optimizer.options["lr"]
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])

    def _minimize(self, loss: Loss, phase: Phase) -> None:
        """One optimizer step on the modules that the phase moves; the others have no gradient, and stay."""
        total = loss.total
        if not bool(total.isfinite()):  # one look a step: it makes a GPU wait
            raise NonFiniteLoss(f"step {self.step + 1}: {_not_finite(loss)}")
        moved = [p for module in phase.moves for p in module.parameters() if p.requires_grad]
        self.optimizer.zero_grad(set_to_none=True)
        total.backward(inputs=moved or None)  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def _after_step(self) -> None:
        """Moving averages follow the weights: the method's own teacher, and the recipe's."""
        if self.step >= self.pretrain_steps and hasattr(self.method, "after_step"):
            self.method.after_step(self.model)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def take_averages(self) -> dict[str, float]:
        """Mean loss terms and metrics of the epoch that just ended; the next one starts from zero."""
        steps = self.step - (self.epoch - 1) * self.steps_per_epoch
        averages = {name: float(total) / steps for name, total in self.sums.items()}
        self.sums = {}
        return averages

    def state_dict(self) -> dict[str, Any]:
        """All state: random numbers are functions of the step, so that there is no more. ``answering`` has the weights
        to evaluate, where those are not the model's."""
        assert isinstance(self.method, nn.Module)
        state = {
            "step": self.step,
            "sums": dict(self.sums),
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self.answering is not self.model:
            state["answering"] = self.answering.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        assert isinstance(self.method, nn.Module)
        self.step, self.sums = int(state["step"]), dict(state["sums"])
        self.model.load_state_dict(state["model"])
        self.method.load_state_dict(state["method"])
        self.optimizer.load_state_dict(state["optimizer"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def _not_finite(loss: Loss) -> str:
    bad = {name: float(value.detach()) for name, value in loss.terms.items() if not bool(value.isfinite())}
    if not bad:
        return "the sum of the loss terms overflows"
    return ", ".join(f"the loss term {name!r} is {value}" for name, value in bad.items())
