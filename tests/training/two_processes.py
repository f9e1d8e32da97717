"""One of the two processes of test_distributed.py: ``python two_processes.py RANK MEETING_POINT RESULTS CASES``.

Each case is the overrides of a recipe, apart by blanks. RESULTS gets the losses of its first steps, and the states
after half of them and after all.
"""

import json
import sys
from pathlib import Path

import torch
from torch import distributed

from uan_da.recipe import load_recipe
from uan_da.training.training import Training

STEPS = 10
COMMON = ["train.epochs=3", "train.steps_per_epoch=10", "train.batch.source=8", "train.batch.target=16"]


def build(case: str) -> Training:
    """In float64: sums in another order differ by so little that ten steps do not make it visible."""
    training = Training.build(load_recipe("digits", [*COMMON, *case.split()]), torch.device("cpu"))
    training.model.double().register_forward_pre_hook(lambda _, inputs: (inputs[0].double(),))
    training.method.double()
    return training


def losses(training: Training, steps: int) -> list[dict[str, float]]:
    """What each step adds to the sums of an epoch."""
    found = []
    for _ in range(steps):
        training.sums = {}
        training.advance()
        found.append({name: float(value) for name, value in training.sums.items()})
    return found


def main(rank: int, meeting_point: str, results: Path, cases: list[str]) -> None:
    distributed.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    found = []
    for number, case in enumerate(cases):
        training = build(case)
        first = losses(training, STEPS // 2)
        torch.save(training.state_dict(), results / f"{number}-half-{rank}.pt")
        found.append(first + losses(training, STEPS - STEPS // 2))
        torch.save(training.state_dict(), results / f"{number}-end-{rank}.pt")
    (results / f"{rank}.json").write_text(json.dumps(found))
    distributed.barrier()
    distributed.destroy_process_group()


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
