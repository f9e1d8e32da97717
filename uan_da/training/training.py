"""Everything that one training moves, and the one step that moves it."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from uan_da.data.domain_batch import DomainBatch
from uan_da.data.progress import Progress as Reading
from uan_da.data.progress import silent
from uan_da.data.task import Task, build_task
from uan_da.errors import UserError
from uan_da.methods.method import Ascent, Loss, LossOf, Method, Phase, Progress, mean_loss
from uan_da.methods.transfer import build_method
from uan_da.models.classifier import Classifier, build_model
from uan_da.norms import frozen_statistics
from uan_da.norms.distributed import is_distributed, process_count, process_number
from uan_da.norms.synchronized import synchronize
from uan_da.recipe import Recipe
from uan_da.seeding import fold, seed_everything
from uan_da.training.finite import FiniteCheck
from uan_da.training.optimizer import load_optimizer, ready
from uan_da.training.optimizer_step import OptimizerStep
from uan_da.training.precision import HALF, tensor_float32
from uan_da.training.prefetch import FEW, Prefetch
from uan_da.training.run import Run

SHARE = ("source_only", "joint", "source_and_target", "dann", "mcd", "adamatch", "mme", "ovanet")
"""The methods that several processes can train."""
LARGER_BATCH = "Raise train.batch.source and train.batch.target, or take another norm"


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

    def __post_init__(self) -> None:
        self.optimizer_step = OptimizerStep(self.optimizer, self.recipe.train, self.device)
        self.finite = FiniteCheck(self.device)
        self._layers = tuple(self.model.modules())
        few = FEW if self.task.is_decoded else 1  # what is decoded on the way comes as evenly as it can
        self.prefetch = Prefetch(few) if self.device.type == "cpu" else None  # a GPU's kernels wait in line anyway

    @classmethod
    def build(cls, recipe: Recipe, device: torch.device, *, fresh: bool = True, reading: Reading = silent) -> Self:
        """A training at its first step; everything random in it is a function of the recipe's seed.

        Without ``fresh`` the weights that it would start from are not read: a checkpoint's take their place.
        ``reading`` is told of the images that are decoded.
        """
        return cls.of(build_task(recipe, device, reading), recipe, device, fresh=fresh)

    @classmethod
    def of(
        cls, task: Task, recipe: Recipe, device: torch.device, *, fresh: bool = True, channels: int | None = None
    ) -> Self:
        """The same on a ``task`` that is there already; ``channels``: of its images, where the recipe's are others."""
        check_parts(recipe, task)
        pretrained = fresh and recipe.init is None
        model = build_model(recipe, len(task.classes), pretrained=pretrained, channels=channels).to(device)
        if fresh and recipe.init is not None:
            Run.open(recipe.init).start_from(model, device)
        model.class_names, model.domain_names = tuple(task.classes), recipe.task.domains
        model.autocast_dtype = HALF[recipe.train.precision]
        if recipe.train.compile:
            with torch._dynamo.config.patch(wrap_top_frame=True):  # else PyTorch 2.11 leaves an nn.Sequential out
                model.backbone.compile()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(fold(recipe.seed, "method"))
            method = build_method(recipe.method, model, model.num_classes)
        method.prepare(model, len(task.target.train))
        if is_distributed():
            _share(recipe, model, method)
        optimizer = recipe.train.optimizer([model, method])
        decay = recipe.train.ema
        if decay is not None and type(method).predictor is not Method.predictor:
            raise UserError(
                f"train.ema: {recipe.method.name!r} predicts with an average of its own; leave train.ema out"
            )
        average = None if decay is None else AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(decay))  # type: ignore[no-untyped-call]
        return cls(recipe, task, model, method, optimizer, device, average)

    @property
    def evaluated(self) -> Classifier:
        """The network that is evaluated and kept: the model, its moving average, or what the method predicts with."""
        if self.average is not None:
            assert isinstance(self.average.module, Classifier)
            return self.average.module
        return self.model if self._source_alone(self.step) else self.method.predictor(self.model)

    def _source_alone(self, step: int) -> bool:
        """Whether the first ``step`` steps are, or end in, a pre-training that is shown the source alone."""
        return 0 < step <= self.pretrain_steps and not self.method.pretrains_with_target

    @cached_property
    def steps_per_epoch(self) -> int:
        """As the recipe says, or one pass over the source."""
        return self.recipe.train.steps_per_epoch or self.task.steps_per_epoch

    @cached_property
    def pretrain_steps(self) -> int:
        """Steps before the method's own."""
        return (self.recipe.method.pretrain_epochs or 0) * self.steps_per_epoch

    @cached_property
    def total_steps(self) -> int:
        """Batches in all, those of the pre-training included."""
        train = self.recipe.train
        return self.pretrain_steps + (train.steps or (train.epochs or 0) * self.steps_per_epoch)

    @property
    def progress(self) -> Progress:
        """How far the pre-training is, and after it the method."""
        if self.pretraining:
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

    @property
    def pretraining(self) -> bool:
        """Whether the next step is one before the method's own."""
        return self.step < self.pretrain_steps

    def advance(self) -> None:
        """One step of the training: a batch goes through each phase of the method, an optimizer step each time.

        Raises:
            NonFiniteLoss: a term of a loss, of this step or (on a GPU) of one before it, is not finite; names the step
                and the term. Its phase, and all after it, have moved no weight.
            UserError: the batch is too small for a norm.
        """
        seed_everything(fold(self.recipe.seed, "step", self.step), self.device)
        try:
            with tensor_float32(self.device):
                self._advance()
        except ValueError as error:
            if str(error).startswith("Expected more than 1 value"):  # as PyTorch's BatchNorm begins
                raise UserError(f"a BatchNorm cannot train on so little: {error}. {LARGER_BATCH}") from None
            raise

    def _advance(self) -> None:
        if self.step == self.pretrain_steps:
            self.optimizer.state.clear()  # what a pre-training left in it
            ready(self.optimizer)
            self.method.start(self.model)
            self._layers = tuple(self.model.modules())
        if not all(layer.training for layer in self._layers):  # to ask costs a fraction of what it costs to set
            self.model.train()
        self._set_learning_rate()
        parts, values = self._parts(), dict[str, Tensor]()
        phases = [Phase("", self.method.pretrain_loss)] if self.pretraining else self.method.phases(self.model)
        for phase in phases:
            moved = [p for module in phase.modules for p in module.parameters() if p.requires_grad]
            before = values.get("loss")
            for _ in range(phase.times):
                self.optimizer.zero_grad(set_to_none=True)
                with nullcontext() if phase.ascent is None else self._ascended(phase.ascent, parts):
                    found = self._backward(phase.loss, parts, moved)
                self.optimizer_step.step(self.finite.stop)
                values |= {f"{phase.name}{name}": x for name, x in {**found.terms, **found.metrics}.items()}
                values["loss"] = found.total if before is None else found.total + before
        if not phases:
            values["loss"] = torch.zeros(())
        self.optimizer_step.after_batch()
        if not self.pretraining:
            self.method.after_step(self.model)
        if self.average is not None:
            self.average.update_parameters(self.model)
        self.step += 1
        self._add(values)

    def _add(self, values: Mapping[str, Tensor]) -> None:
        """Add loss terms and metrics to their sums, in one call: many small operations take long."""
        for name, value in values.items():
            if name not in self.sums:
                self.sums[name] = torch.zeros_like(value + 0.0)
        torch._foreach_add_([self.sums[name] for name in values], list(values.values()))

    def _backward(self, loss_of: LossOf, parts: Sequence[DomainBatch], moved: Sequence[nn.Parameter]) -> Loss:
        """Add the gradient of the mean loss of ``parts`` to those of ``moved``; the loss."""
        losses = []
        for part in parts:
            loss = loss_of(self.model, part, self.progress)
            self.optimizer_step.backward(loss.total if len(parts) == 1 else loss.total / len(parts), moved)
            losses.append(loss.detached())
            del loss  # nothing of a step's graph outlives it
        found = mean_loss(losses)
        self.finite.note(self.step + 1, found)
        return found

    @contextmanager
    def _ascended(self, ascent: Ascent, parts: Sequence[DomainBatch]) -> Iterator[None]:
        """Inside the block the model's weights stand up its task loss, and a forward changes no statistic again."""
        self._backward(ascent.loss, parts, [p for p in self.model.parameters() if p.requires_grad])
        with self.optimizer_step.ascended(ascent.radius), frozen_statistics(self.model):
            yield

    def _parts(self) -> list[DomainBatch]:
        """This process's share of the batch, in the parts that it goes through the network in."""
        return self.batch(self.step).part(process_number(), process_count()).parts(self.recipe.train.accumulate)

    def batch(self, step: int) -> DomainBatch:
        """The images of ``step``, counted from 0: no more than its losses read."""
        return (
            self._make_batch(step)
            if self.prefetch is None
            else self.prefetch.take(step, self.total_steps, self._make_batch)
        )

    def _make_batch(self, step: int) -> DomainBatch:
        if self._source_alone(step + 1):
            return self.task.batch(step, ("weak",), with_target=False)
        method = self.method
        return self.task.batch(
            step, method.views, with_target=method.uses_target, target_labels=method.reads_target_labels
        )

    def _set_learning_rate(self) -> None:
        train, pretrain_lr = self.recipe.train, self.recipe.method.pretrain_lr
        progress = self.progress
        factor = train.schedule(progress.step, progress.total)
        factor *= min(1.0, (progress.step + 1) / max(1, train.warm_up))
        if self.pretraining and pretrain_lr is not None:
            factor *= pretrain_lr / train.optimizer.options["lr"]
        for group in self.optimizer.param_groups:
            group["lr"] = factor * group.setdefault("initial_lr", group["lr"])

    def take_averages(self) -> dict[str, float]:
        """Mean loss terms and metrics of the epoch that just ended; the next one starts from zero. Where the training's
        end cut it short, it may go on, in a longer training.

        Raises:
            NonFiniteLoss: as :meth:`advance`.
        """
        self.finite.look()
        steps = self.step - (self.epoch - 1) * self.steps_per_epoch
        averages = {name: float(total) / steps for name, total in self.sums.items()}
        if self.step % self.steps_per_epoch == 0:
            self.sums = {}
        return averages

    def state_dict(self) -> dict[str, Any]:
        """All state: random numbers are functions of the step, so that there is no more. ``answering`` has the weights
        to evaluate, where those are not the model's.

        Raises:
            NonFiniteLoss: as :meth:`advance`.
        """
        self.finite.look()
        state = {
            "step": self.step,
            "sums": dict(self.sums),
            "model": self.model.state_dict(),
            "method": self.method.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }
        if self.optimizer_step.scaler is not None:
            state["scaler"] = self.optimizer_step.scaler.state_dict()
        if self.average is not None:
            state["average"] = self.average.state_dict()
        if self.evaluated is not self.model:
            state["answering"] = self.evaluated.state_dict()
        return state

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from ``state``."""
        self.step = int(state["step"])
        self.sums = {name: total.to(self.device, copy=True) for name, total in state["sums"].items()}
        self.model.load_state_dict(state["model"])
        self.method.load_state_dict(state["method"])
        load_optimizer(self.optimizer, state["optimizer"])
        if self.optimizer_step.scaler is not None:
            self.optimizer_step.scaler.load_state_dict(state["scaler"])
        if self.average is not None:
            self.average.load_state_dict(state["average"])


def check_parts(recipe: Recipe, task: Task) -> None:
    """UserError where the images of a domain in a batch are no multiple of the parts that it goes through in."""
    parts = recipe.train.accumulate * process_count()
    for loader in task.loaders:
        if loader.batch_size % parts:
            raise UserError(
                f"train.accumulate={recipe.train.accumulate} in {process_count()} processes: domain {loader.domain!r} "
                f"has {loader.batch_size} images in a batch (train.batch), which do not divide by {parts}"
            )


def _share(recipe: Recipe, model: Classifier, method: Method) -> None:
    """Ready for a share of each batch: BatchNorms beside the backbone take the moments of all; those in it, and other
    norms, as ``norm.sync`` says.

    Raises:
        UserError: the method would come to something else.
    """
    if not method.parallel:
        names = ", ".join([recipe.method.name, *(added.name for added in recipe.method.then)])
        raise UserError(
            f"method {names}: several processes would not learn what one learns, because the loss is not a mean "
            f"over the images of a batch. Train it in one process; {', '.join(SHARE)} share their batches"
        )
    for part in (model.bottleneck, model.head, method):
        synchronize(part)
