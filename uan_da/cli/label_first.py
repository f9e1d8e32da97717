"""``uan-da label-first``."""

import shlex
from pathlib import Path
from typing import Annotated

import typer

from uan_da.cli.options import DataRoot


def label_first(
    sweep: Annotated[Path, typer.Argument(help="The folder of a comparison.")],
    out: Annotated[
        Path | None,
        typer.Option(help="The list to write.  [default: label_first.csv in the folder]", show_default=False),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="The list with labels filled in: counts how many each run classifies correctly.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the list if it exists.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    data_root: DataRoot = None,
) -> None:
    """List the target's images, those first on which the best two runs disagree most; or check runs by labels."""
    from uan_da.cli.terminal import print_sheet, rich_console
    from uan_da.errors import UserError
    from uan_da.sweeps.label_first import best_two, check, disagreements, read_labels, runs_of, write_list
    from uan_da.sweeps.sheet import Sheet
    from uan_da.training.device import choose_device

    console = rich_console()
    if labels is not None:
        found = check(runs_of(sweep), read_labels(labels), choose_device(device))
        rows = [
            [each.name, f"{each.right} of {each.n}", f"{100 * each.interval[0]:.1f} to {100 * each.interval[1]:.1f}"]
            for each in found
        ]
        note = (
            "images chosen because runs disagree are harder than the rest: compare runs by this, not with other tables"
        )
        head = ["run", "right", "95 % interval, %"]
        print_sheet(console, Sheet(f"on {found[0].n} labelled images of the target", head, rows, 1, [note]))
        return
    path = out or sweep / "label_first.csv"
    if path.exists() and not overwrite:
        raise UserError(f"{path}: exists already, perhaps with your labels. Replace it: --overwrite")
    first, second = best_two(sweep)
    listed = disagreements(first, second, choose_device(device))
    write_list(path, listed)
    differ = sum(each.predictions[0][0] != each.predictions[1][0] for each in listed)
    for run, which in ((first, "1"), (second, "2")):
        console.print(f"{which}: {run.recipe.method.name} {run.recipe.norm.name}   {run.folder}", soft_wrap=True)
    console.print(f"{differ} of {len(listed)} images get another class: {path}", soft_wrap=True)
    command = shlex.join(["uan-da", "label-first", str(sweep), "--labels", str(path)])
    console.print(f"next: fill in its column 'label', then {command}", soft_wrap=True)
