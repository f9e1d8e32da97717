"""What a training costs beside its network: a recipe's whole step, and the bare forward and backward of the same
images."""

import statistics
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from uan_da.benchmarks.measure import Spread, interleaved, ratios
from uan_da.norms import domain_context
from uan_da.recipe import Recipe
from uan_da.training.training import Training


@dataclass(frozen=True)
class RecipeCost:
    """Steps a second of the whole training and of the bare network, images that a step's forwards see, and the share
    of the bare network's speed that the training reaches."""

    whole: float
    bare: float
    images: int
    share: Spread


def measure_recipe(recipe: Recipe, device: torch.device, rounds: int) -> RecipeCost:
    """Train ``rounds`` steps of ``recipe``, each beside the bare forwards and backward of the images of one step.

    Reading, augmentation, the method's losses and the optimizer are what the bare network lacks.
    """
    training = Training.build(recipe, device)
    training.step = training.pretrain_steps
    batches = forwards_of_a_step(training)
    seconds = interleaved({"whole": training.advance, "bare": lambda: bare_step(training, batches)}, device, rounds)
    whole, bare = (1 / statistics.median(seconds[name]) for name in ("whole", "bare"))
    share = ratios({"whole": seconds["bare"], "bare": seconds["whole"]}, "bare")["whole"]
    return RecipeCost(whole, bare, sum(len(batch) for batch in batches), share)


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
