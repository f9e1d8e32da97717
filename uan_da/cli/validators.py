"""``uan-da validators``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.options import Trusted, trust_of

if TYPE_CHECKING:
    from uan_da.evaluation.ranking import Scored
    from uan_da.training.run import Run


def validators(
    folder: Annotated[Path, typer.Argument(help="A run, or a folder of runs: a sweep.")],
    trust: Trusted = False,
) -> None:
    """Rank validators by how their scores agree with the true target accuracy over the checkpoints of each epoch.

    This reads target labels. It judges validators and selects no checkpoint.
    """
    from uan_da.cli.console import Console, percent
    from uan_da.errors import UserError
    from uan_da.evaluation.ranking import rank_validators
    from uan_da.sweeps.sheet import Sheet
    from uan_da.training.run import Run

    tasks: dict[str, list[Scored]] = {}
    held_out = True
    for run in runs_in(folder):
        opened = Run.open(run, trust_of(trust))
        task = f"{opened.recipe.dataset} {opened.recipe.task}"
        opened.check_whole(opened.recipe_file.name)
        tasks.setdefault(task, []).extend(_checkpoints(opened))
        held_out &= opened.recipe.selection.holdout > 0
    ranks = rank_validators(tasks)
    if not ranks:
        raise UserError(f"{folder}: no epoch of it has both validators' scores and a labelled target")
    count = sum(map(len, tasks.values()))
    title = f"{count} checkpoints of {len(tasks)} task(s): {', '.join(tasks)}"
    rows = []
    for rank in ranks:
        correlation = "-" if rank.correlation is None else f"{rank.correlation:+.2f}"
        rows.append([rank.validator, correlation, percent(rank.accuracy), percent(rank.regret), str(rank.checkpoints)])
    head = ["validator", "rank correlation", "accuracy selected", "below the best", "checkpoints"]
    with Console() as console:
        console.show(Sheet(title, head, rows, 1))
        console.say("the accuracy is that of the target's test images: this table reads target labels")
        if not held_out:
            console.say(
                "source_accuracy, importance_weighted, dev, circular and nearest_source read source images that were "
                "trained on; hold some out: selection.holdout=0.2"
            )


def runs_in(folder: Path) -> list[Path]:
    """``folder`` if it is a run, else the runs below it, without the baselines inside them.

    Raises:
        UserError: there is none.
    """
    from uan_da.errors import UserError

    if (folder / "recipe.yaml").is_file():
        return [folder]
    found = [path.parent for path in sorted(folder.rglob("recipe.yaml")) if path.parent.name != "baseline"]
    if not found:
        raise UserError(f"{folder}: holds no run (no recipe.yaml in it or below it)")
    return found


def _checkpoints(run: "Run") -> "list[Scored]":
    from uan_da.evaluation.ranking import Scored

    target = run.recipe.task.target
    return [
        Scored(row["validators"], row["domains"][target])
        for row in run.metrics()
        if "validators" in row and row["domains"][target] is not None
    ]
