"""What the processes of test_distributed.py do; a module of its own, which they can import.

Each case is the overrides of a recipe, apart by blanks; ``state=FILE`` among them goes on from there.
"""

import json
from pathlib import Path

import torch
from torch import distributed

from uan_da.evaluation.predict import Predictions
from uan_da.recipe import load_recipe
from uan_da.training.train import predict_epoch
from uan_da.training.training import Training

STEPS = 4
BATCH = ["train.batch.source=12", "train.batch.target=24"]
COMMON = ["train.epochs=20", "train.steps_per_epoch=10", "backbone.width=8", *BATCH]


def build(case: str) -> Training:
    """In float64: sums in another order differ by so little that some steps do not make it visible."""
    overrides = [word for word in case.split() if word != "predicted" and not word.startswith("state=")]
    training = Training.build(load_recipe("digits", [*COMMON, *overrides]), torch.device("cpu"))
    training.model.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    training.method.double()
    for word in case.split():
        if word.startswith("state="):
            training.load_state_dict(torch.load(word.removeprefix("state="), weights_only=True))
    return training


def losses(training: Training, steps: int) -> list[dict[str, float]]:
    """What each step adds to the sums of an epoch."""
    found = []
    for _ in range(steps):
        training.sums = {}
        training.advance()
        found.append({name: float(value) for name, value in training.sums.items()})
    return found


def predicted(training: Training) -> dict[str, torch.Tensor]:
    """All that is predicted at an epoch's end."""
    evidence, test = predict_epoch(training)
    found: dict[str, Predictions] = {**test, "target": evidence.target, "source": evidence.source_train}
    parts = {"features": lambda own: own.features, "logits": lambda own: own.logits, "labels": lambda own: own.labels}
    return {f"{name} {part}": of(own) for name, own in found.items() for part, of in parts.items()}


def train_together(rank: int, count: int, results: Path, steps: int, cases: list[str]) -> None:
    """Process ``rank`` of ``count``. ``results`` gets the losses of its steps, the states after half of them and after
    all, and with ``predicted`` in a case the predictions at an epoch's end."""
    torch.set_num_threads(1)
    distributed.init_process_group("gloo", init_method=f"file://{results}/meet", rank=rank, world_size=count)
    found = []
    for number, case in enumerate(cases):
        training = build(case)
        first = losses(training, steps // 2)
        torch.save(training.state_dict(), results / f"{number}-half-{rank}.pt")
        found.append(first + losses(training, steps - steps // 2))
        torch.save(training.state_dict(), results / f"{number}-end-{rank}.pt")
        if "predicted" in case.split():
            torch.save(predicted(training), results / f"{number}-predictions-{rank}.pt")
    (results / f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()
