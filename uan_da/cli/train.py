"""``uan-da train``."""

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from uan_da.cli.options import DataRoot

if TYPE_CHECKING:
    from uan_da.cli.console import Console
    from uan_da.recipe import Recipe


Processes = Annotated[
    int, typer.Option(min=1, help="Processes that share each batch: a GPU each, or with --device cpu on the CPU.")
]
Loggers = Annotated[
    list[str] | None,
    typer.Option(help="Also log to tensorboard, wandb or mlflow (optional extras); may be repeated."),
]


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="A shipped recipe's name, or a YAML file; --resume uses the run's.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe: norm=bn train.epochs=2 seed=3")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder.  [default: runs/RECIPE/TIME-seedN]")] = None,
    with_baseline: Annotated[
        bool,
        typer.Option("--with-baseline", help="Also train source_only, and say whether adaptation helped."),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out; train.epochs may be raised.")
    ] = False,
    resume_or_start: Annotated[
        bool, typer.Option("--resume-or-start", help="Continue the run in --out, or start it.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    devices: Processes = 1,
    log: Loggers = None,
    data_root: DataRoot = None,
) -> None:
    """Train a recipe, evaluate it on every domain, and write the run folder."""
    from uan_da.cli.console import Console
    from uan_da.cli.report import write_report
    from uan_da.names import LOGGERS
    from uan_da.recipe import load_recipe
    from uan_da.training.distributed import is_launched, process
    from uan_da.training.launch import launch
    from uan_da.training.monitor import Several
    from uan_da.training.train import train as run_training
    from uan_da.trust import TELLING

    resume = _resumes(out, resume, resume_or_start, overwrite)
    recipe, plain, changes = _recipes(recipe, overrides or [], out if resume else None)
    with_baseline = with_baseline or plain != recipe
    resolved = load_recipe(recipe, changes, TELLING)
    baseline = _baseline_of(plain, changes) if with_baseline else False
    if devices > 1 and not is_launched():
        raise typer.Exit(launch(sys.argv[1:], devices))

    folder = out or _default_folder(recipe, resolved.seed)
    again = [recipe, *changes, "--out", str(folder), *(["--with-baseline"] if with_baseline else []), "--resume"]
    loggers = [LOGGERS.load(name)() for name in log or []]
    with Console() as console, _told(console, again):
        run = run_training(
            resolved,
            folder,
            device=device,
            overwrite=overwrite,
            resume=resume,
            with_baseline=baseline,
            monitor=Several(console, *loggers),
            reading=console.read,
        )
        if process() == 0:
            write_report(run.folder, device, trust=True)
            console.results(run)


def _resumes(out: Path | None, resume: bool, resume_or_start: bool, overwrite: bool) -> bool:
    """Whether a run is continued; UserError where the options contradict each other."""
    from uan_da.errors import UserError

    if (resume or resume_or_start) and overwrite:
        raise UserError("--resume continues a run, --overwrite replaces it: give one of the two")
    if (resume or resume_or_start) and out is None:
        raise UserError("--resume needs --out: the folder of the run to continue")
    return resume or (resume_or_start and out is not None and (out / "recipe.yaml").is_file())


def _recipes(recipe: str | None, changes: list[str], resumed: Path | None) -> tuple[str, str, list[str]]:
    """The recipe to train, the one of the baseline, which is another where a run has begun its own, and the changes.
    Without a recipe they are those of the run that is continued: ``train --resume --out RUN train.epochs=9``."""
    if recipe is not None and "=" in recipe and not Path(recipe).exists():
        changes, recipe = [recipe, *changes], None
    if recipe is not None:
        return recipe, recipe, changes
    found = _recipe_of(resumed)
    return found, _baseline_in(resumed) or found, changes


def _recipe_of(folder: Path | None) -> str:
    """The recipe of the run that is continued; None: there is none, and a recipe must be given."""
    from uan_da.errors import UserError
    from uan_da.training.run import Run

    if folder is None:
        raise UserError("which recipe? uan-da list recipes prints them; to continue a run: --resume --out RUN")
    return str(Run.open(folder).recipe_file)


def _baseline_in(out: Path | None) -> str | None:
    """The recipe of the baseline that a run has begun."""
    path = None if out is None else out / "baseline" / "recipe.yaml"
    return str(path) if path is not None and path.is_file() else None


def _baseline_of(recipe: str, changes: list[str]) -> "Recipe":
    """``source_only`` by the recipe's file, which may have a protocol of its own for it."""
    from uan_da.recipe import load_recipe
    from uan_da.trust import TELLING

    others = [text for text in changes if not text.startswith("method")]
    return load_recipe(recipe, [*others, "method=source_only", "init=null"], TELLING)


@contextmanager
def _told(console: "Console", again: list[str]) -> Iterator[None]:
    """What ends a training early becomes a message and an exit code; ``again`` is the command that continues it."""
    from uan_da.training.finite import NonFiniteLoss
    from uan_da.training.interrupt import Interrupted

    try:
        yield
    except Interrupted as stop:
        console.say(f"{stop}; go on with: uan-da train {shlex.join(again)}")
        raise typer.Exit(stop.exit_code) from None
    except NonFiniteLoss as error:
        console.fail(str(error))
        raise typer.Exit(1) from None


def _default_folder(recipe: str, seed: int) -> Path:
    from datetime import datetime

    return Path("runs") / Path(recipe).stem / f"{datetime.now():%Y%m%d-%H%M%S}-seed{seed}"
