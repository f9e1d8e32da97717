"""Train from Python."""

from collections.abc import Iterable
from pathlib import Path

from uan_da.api.progress import Lines
from uan_da.api.run import Run
from uan_da.errors import UserError
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.monitor import Silent
from uan_da.training.train import train as train_run
from uan_da.trust import FILES, TELLING


def train(
    recipe: Recipe | str | Path,
    overrides: Iterable[str] = (),
    *,
    out: Path | str,
    device: str = "auto",
    overwrite: bool = False,
    resume: bool = False,
    with_baseline: bool = False,
    progress: bool = True,
) -> Run:
    """Train a recipe in the folder ``out``, in this process.

    Args:
        recipe: a shipped recipe's name, a file, or a recipe.
        overrides: changes to the recipe, as on the command line: ``["norm=uan", "train.epochs=2"]``.
        out: the run folder; it must be empty, unless ``resume`` or ``overwrite`` is given.
        device: ``auto``, or a device of PyTorch.
        overwrite: replace the run in ``out``.
        resume: continue the run in ``out``; the result is bit-identical to that of an uninterrupted run.
        with_baseline: also train ``source_only``, in ``out/baseline``.
        progress: print one line per epoch.

    Raises:
        UserError: the recipe, the folder, the data or the device cannot be used.
        NonFiniteLoss: the loss became NaN or infinite; the last good checkpoint is kept.

    Example:
        >>> few = ["norm=bn", "train.epochs=1", "train.steps_per_epoch=1"]
        >>> run = train("digits", few, out="runs/first", device="cpu", progress=False)
        >>> list(run.accuracy.columns)
        ['selection', 'domain', 'role', 'n', 'accuracy', 'low', 'high']
    """
    changes = list(overrides)
    if isinstance(recipe, Recipe) and changes:
        raise UserError("overrides are for the name or the file of a recipe: load_recipe(name, overrides) makes one")
    loaded = recipe if isinstance(recipe, Recipe) else load_recipe(recipe, changes, TELLING)
    train_run(
        loaded,
        out,
        device=device,
        overwrite=overwrite,
        resume=resume,
        with_baseline=with_baseline,
        monitor=Lines() if progress else Silent(),
    )
    return Run(out, FILES)
