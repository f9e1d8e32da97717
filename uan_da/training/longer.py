"""A run that goes on to more epochs or steps than it was started with."""

import warnings
from collections.abc import Mapping
from typing import Any

from uan_da.errors import DataWarning, UserError
from uan_da.files import read_bytes, write_text
from uan_da.recipe.blocks import ScheduleBlock
from uan_da.training.recipe_file import lengthened
from uan_da.training.run import Run
from uan_da.training.training import Training

LENGTHS = ("epochs", "steps")


def is_longer(before: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    """Whether of two recipes' meanings the second has more epochs, or steps, and nothing else differs.

    Raises:
        UserError: it has fewer.
    """
    for key in LENGTHS:
        old, new = before["train"].get(key), now["train"].get(key)
        if old and new and old != new and {**before, "train": {**before["train"], key: new}} == now:
            if new < old:
                raise UserError(f"train.{key} was {old}, is {new}: a run goes on to more, not to fewer")
            return True
    return False


def lengthen(run: Run, training: Training) -> None:
    """Write into the folder, and tell, that the run goes on to its ``training``'s length; nothing where it has that."""
    before, now = run.recipe.train, training.recipe.train
    key = "steps" if now.steps else "epochs"
    old, new = getattr(before, key), getattr(now, key)
    if old == new:
        return
    write_text(run.recipe_file, lengthened(read_bytes(run.recipe_file), key, new).decode())
    run.log(f"train.{key} goes from {old} to {new}")
    steps = 1 if now.steps else training.steps_per_epoch
    done = max(0, training.step - training.pretrain_steps)
    _tell_of_the_schedule(now.schedule, done, old * steps, new * steps)


def _tell_of_the_schedule(schedule: ScheduleBlock, step: int, old: int, new: int) -> None:
    """Warn where a training of ``new`` steps would have had other rates in the first ``step`` of them."""
    done = range(0, step, max(1, step // 1000))
    if all(schedule(each, old) == schedule(each, new) for each in done):
        return
    was, now = (f"{schedule(step, total):.3g}" for total in (old, new))
    told = (
        f"train.schedule={schedule.name} follows the length of the training: its factor on the learning rate was {was} "
        f"after step {step}, and is {now} now. A training that begins with the new length ends elsewhere"
    )
    warnings.warn(told, DataWarning, stacklevel=4)
