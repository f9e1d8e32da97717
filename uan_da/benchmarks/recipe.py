"""What a training costs beside its network: a recipe's whole step, and the bare forward and backward of the same
images, or a bare loop."""

import itertools
import statistics
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uan_da.benchmarks.measure import Spread, interleaved, ratios
from uan_da.data.domain_batch import DomainBatch
from uan_da.norms import domain_context
from uan_da.recipe import Recipe
from uan_da.training.prefetch import FEW
from uan_da.training.training import Training

BLOCK = FEW
"""Steps that are measured in one piece: their batches are made at once."""


@dataclass(frozen=True)
class RecipeCost:
    """Steps a second of the whole training and of the bare network, images that a step's forwards see, and the share
    of the bare network's speed that the training reaches."""

    whole: float
    bare: float
    images: int
    share: Spread


def measure_recipe(recipe: Recipe, device: torch.device, rounds: int) -> RecipeCost:
    """Train ``rounds`` blocks of steps of ``recipe``, each beside the same number of bare forwards and backwards.

    Reading, augmentation, the method's losses and the optimizer are what the bare network lacks.
    """
    training = Training.build(recipe, device)
    training.step = training.pretrain_steps
    batches = forwards_of_a_step(training)

    def bare() -> None:
        for _ in range(BLOCK):
            bare_step(training, batches)

    seconds = interleaved({"whole": lambda: advance_block(training), "bare": bare}, device, rounds)
    whole, bare_rate = (BLOCK / statistics.median(seconds[name]) for name in ("whole", "bare"))
    share = ratios({"whole": seconds["bare"], "bare": seconds["whole"]}, "bare")["whole"]
    return RecipeCost(whole, bare_rate, sum(len(batch) for batch in batches), share)


def advance_block(training: Training) -> None:
    """The steps of a block; the batches of the next one, if a thread makes them, are made in this one's time."""
    if training.step + BLOCK > training.total_steps:
        training.step = training.pretrain_steps + 1  # anew: at a training's end, fewer batches are made at once
    for _ in range(BLOCK):
        training.advance()
    if training.prefetch is not None:
        training.prefetch.wait()


def forwards_of_a_step(training: Training) -> list[Tensor]:
    """The images ``(N, C, H, W)`` of each forward that a step makes of the model."""
    seen: list[Tensor] = []

    def note(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        seen.append(inputs[0].detach())

    handle = training.model.register_forward_pre_hook(note)
    training.advance()
    handle.remove()
    return seen


def bare_step(training: Training, batches: list[Tensor]) -> None:
    """Forward and backward of ``batches``, all of them of the target, with a loss that costs nothing."""
    model = training.model.train()
    model.zero_grad(set_to_none=True)
    with domain_context(model, training.task.target.index):
        total = sum((model(batch).logits.square().mean() for batch in batches), torch.zeros((), device=training.device))
    total.backward()


@dataclass(frozen=True)
class LoopCost:
    """Steps a second of the whole training and of the bare loop, and the share of the loop's speed that the training
    reaches, with the bounds of its median."""

    whole: float
    loop: float
    share: Spread


def measure_bare_loop(recipe: Recipe, device: torch.device, rounds: int) -> LoopCost:
    """Blocks of steps of ``recipe``, each beside a block of the bare loop on the same network.

    The loop has what a loop cannot do without: the method's forwards and losses on batches that lie augmented in
    memory, channels last, backward, and the recipe's optimizer (Adam is a fused one). Reading, augmentation, seeds,
    schedules, checks and metrics are what it lacks.
    """
    training, other = Training.build(recipe, device), Training.build(recipe, device)
    for each in (training, other):
        each.step = each.pretrain_steps
        each.advance()
    batches = [other.batch(step) for step in range(other.step, other.step + 8)]
    loop = bare_loop(other, batches)

    def bare() -> None:
        for _ in range(BLOCK):
            next(loop)

    seconds = interleaved({"whole": lambda: advance_block(training), "loop": bare}, device, rounds)
    rates = {name: BLOCK / statistics.median(values) for name, values in seconds.items()}
    shares = [loop / own for loop, own in zip(seconds["loop"], seconds["whole"], strict=True)]
    return LoopCost(rates["whole"], rates["loop"], Spread.of_median(shares))


def bare_loop(training: Training, batches: list[DomainBatch]) -> Iterator[None]:
    """An endless plain loop over ``batches``; each ``next`` is a step."""
    model, optimizer, progress = training.model.train(), training.optimizer, training.progress
    phases = training.method.phases(model)
    for batch in itertools.cycle(batches):
        for phase in phases:
            moved = [parameter for module in phase.modules for parameter in module.parameters()]
            for _ in range(phase.times):
                loss = phase.loss(model, batch, progress).total
                optimizer.zero_grad()
                loss.backward(inputs=moved or None)  # type: ignore[no-untyped-call]
                optimizer.step()
        yield
