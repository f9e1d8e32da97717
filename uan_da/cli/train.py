"""``uan-da train``."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from uan_da.cli.options import DataRoot


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
    resume: Annotated[bool, typer.Option("--resume", help="Continue the unfinished run in --out.")] = False,
    resume_or_start: Annotated[
        bool, typer.Option("--resume-or-start", help="Continue the run in --out, or start it.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    devices: Annotated[
        int, typer.Option(min=1, help="Processes that share each batch: a GPU each, or with --device cpu on the CPU.")
    ] = 1,
    log: Annotated[
        list[str] | None,
        typer.Option(help="Also log to tensorboard, wandb or mlflow (optional extras); may be repeated."),
    ] = None,
    data_root: DataRoot = None,
) -> None:
    """Train a recipe, evaluate it on every domain, and write the run folder."""
    from uan_da.cli.console import Console
    from uan_da.cli.report import write_report
    from uan_da.errors import UserError
    from uan_da.names import LOGGERS
    from uan_da.recipe import load_recipe
    from uan_da.training.distributed import is_launched, process
    from uan_da.training.finite import NonFiniteLoss
    from uan_da.training.interrupt import Interrupted
    from uan_da.training.launch import launch
    from uan_da.training.monitor import Several
    from uan_da.training.run import Run
    from uan_da.training.train import train as run_training
    from uan_da.trust import TELLING

    if (resume or resume_or_start) and overwrite:
        raise UserError("--resume goes on with a run, --overwrite replaces it: give one of the two")
    if (resume or resume_or_start) and out is None:
        raise UserError("--resume needs --out: the folder of the run to go on with")
    resume = resume or (resume_or_start and out is not None and (out / "recipe.yaml").is_file())
    if recipe is None:
        if not resume or out is None:
            raise UserError("which recipe? uan-da list recipes; a run goes on by its own: --resume --out RUN")
        recipe = str(Run.open(out).recipe_file)
        with_baseline = with_baseline or (out / "baseline" / "recipe.yaml").is_file()
    resolved = load_recipe(recipe, overrides or [], TELLING)
    if devices > 1 and not is_launched():
        raise typer.Exit(launch(sys.argv[1:], devices))
    folder = out or _default_folder(recipe, resolved.seed)
    options: dict[str, Any] = {"overwrite": overwrite, "resume": resume}
    if with_baseline:  # from the file, which may have a protocol of its own for source_only
        others = [text for text in overrides or [] if not text.startswith("method")]
        options["with_baseline"] = load_recipe(recipe, [*others, "method=source_only", "init=null"], TELLING)
    loggers = [LOGGERS.load(name)() for name in log or []]
    with Console() as console:
        try:
            run = run_training(resolved, folder, device=device, monitor=Several(console, *loggers), **options)
            if process() > 0:
                return
        except Interrupted as stop:
            again = [recipe, *(overrides or []), "--out", str(folder), *(["--with-baseline"] if with_baseline else [])]
            console.say(f"{stop}; go on with: uan-da train {shlex.join(again)} --resume")
            raise typer.Exit(stop.exit_code) from None
        except NonFiniteLoss as error:
            console.fail(str(error))
            raise typer.Exit(1) from None
        write_report(run.folder, device, trust=True)
        console.results(run)


def _default_folder(recipe: str, seed: int) -> Path:
    from datetime import datetime

    return Path("runs") / Path(recipe).stem / f"{datetime.now():%Y%m%d-%H%M%S}-seed{seed}"
