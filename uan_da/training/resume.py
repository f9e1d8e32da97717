"""Where a run stopped."""

from typing import Any

from uan_da.errors import UserError
from uan_da.files import read_bytes, write_text
from uan_da.recipe import Recipe
from uan_da.training.checkpoint import Manifest
from uan_da.training.lock import is_empty
from uan_da.training.longer import is_longer
from uan_da.training.recipe_file import identity, recipe_text
from uan_da.training.record import Record
from uan_da.training.run import Run


def stopped_at(run: Run, recipe: Recipe, record: Record) -> Manifest | None:
    """What the run in the folder has done; None for one that was killed before its first checkpoint.

    What was lost of ``recipe.yaml`` and ``record.json`` is written anew, where the checkpoint agrees.

    Args:
        run: with its folder locked.
        recipe: the one to go on with.
        record: of the data as they are now.

    Raises:
        UserError: the folder holds no run, or one of another or longer recipe or of other data; it lists what differs.
    """
    kept = _check_recipe(run, recipe), _check_record(run, record)
    texts = [old or new.encode() for old, new in zip(kept, (recipe_text(recipe), record.text), strict=True)]
    manifest = run.checkpoints.find(identity(*texts))
    if manifest is not None:
        for old, text, path in zip(kept, texts, (run.recipe_file, run.record_file), strict=True):
            if old is None:
                write_text(path, text.decode())
    return manifest


def check_resumable(run: Run) -> None:
    """UserError where the folder holds no run, not even one that was killed before it began."""
    if (run.folder / "adapt.json").is_file():
        raise UserError(
            f"{run.folder}: adapt wrote this run; it has no training to continue. To train from its weights, give a "
            f"recipe with init={run.folder}"
        )
    there = run.recipe_file.is_file() or run.record_file.is_file()
    if not there and not (run.folder.is_dir() and is_empty(run.folder)):
        raise UserError(f"{run.folder}: holds no run (no recipe.yaml in it)")


def _check_recipe(run: Run, recipe: Recipe) -> bytes | None:
    """``recipe.yaml`` where it can be read. The recipe to go on with may be longer."""
    try:
        text, written = read_bytes(run.recipe_file), run.recipe
    except UserError:
        return None
    before, now = written.meaning, recipe.meaning
    if before != now and not is_longer(before, now):
        raise UserError(
            f"{run.folder}: --resume needs the recipe it was started with, and accepts more train.epochs or "
            f"train.steps; these differ: {_differing(before, now)}"
        )
    return text


def _check_record(run: Run, record: Record) -> bytes | None:
    """``record.json`` where it can be read."""
    try:
        text, before = read_bytes(run.record_file), run.record
    except UserError:
        return None
    before.check_same(record, f"{run.folder}: --resume")
    return text


def _differing(before: Any, now: Any, path: str = "") -> str:
    if isinstance(before, dict) and isinstance(now, dict):
        keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
        return ", ".join(_differing(before.get(key), now.get(key), f"{path}.{key}".lstrip(".")) for key in keys)
    return f"{path} (was {before}, is {now})"
