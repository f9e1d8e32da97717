"""``uan-da start``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from uan_da.data.survey import Survey
    from uan_da.recipe.task_name import TaskName
    from uan_da.sweeps.sheet import Sheet

SHOWN = 12
"""Class names that are printed."""


def start(
    images: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="<domain>/<class>/*, also with a CSV table of labels; or such a table."),
    ],
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Changes to the recipe: task=a:b backbone=resnet50")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the card and the recipe.")] = False,
) -> None:
    """Look at a folder or a CSV table of your own images, and write a card and a recipe for it into this directory."""
    import shlex

    from uan_da.cli.terminal import print_sheet, rich_console
    from uan_da.data.card_dataset import CardDataset
    from uan_da.data.folder_card import card_of_folder, card_of_table, write_card
    from uan_da.data.survey import survey
    from uan_da.errors import UserError
    from uan_da.files import write_text
    from uan_da.recipe.source import dump_yaml
    from uan_da.training.start import recipe_for

    table = images.is_file() and images.suffix.lower() == ".csv"
    if not images.is_dir() and not table:
        raise UserError(f"{images}: no such folder, or CSV table of images")
    folder = (images.parent if table else images).resolve()
    name = images.stem if table else folder.name
    card, recipe = Path(f"{name}.yaml"), Path(f"{name}-recipe.yaml")
    for path in (card, recipe):
        if path.exists() and not overwrite:
            raise UserError(f"{path}: exists already. Replace it: --overwrite")
    looked = card_of_table(images) if table else card_of_folder(folder)
    dataset = CardDataset(str(images if table else folder), looked, folder)
    found = survey(dataset)
    console = rich_console()
    names = list(dataset.classes)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    console.print(f"{images}: {len(names)} classes: {', '.join(names[:SHOWN])}{more}", soft_wrap=True)
    begun = recipe_for(found, f"./{card}", overrides or [])
    print_sheet(console, _sheet(found, begun.task))
    for unused in found.unused:
        console.print(f"left out: {unused}".encode("utf-8", "backslashreplace").decode(), soft_wrap=True)
    for note in begun.notes:
        console.print(f"note: {note}", soft_wrap=True)
    write_card(looked, folder, card)
    write_text(recipe, f"# uan-da train {shlex.quote(str(recipe))}\n{dump_yaml(begun.recipe, compact=True)}")
    console.print(f"written: {card}, {recipe}", soft_wrap=True)
    for command in _commands(card, recipe, begun.task):
        console.print(f"next: uan-da {shlex.join(command)}", soft_wrap=True)


def _sheet(found: "Survey", task: "TaskName") -> "Sheet":
    from uan_da.sweeps.sheet import Sheet

    rows = []
    for look in found.domains:
        role = "source" if look.name in task.sources else "target" if look.name == task.target else "-"
        sides = sorted(side for size in look.sizes for side in size)
        counts = sorted(look.counts.values())
        rows.append(
            [
                look.name,
                role,
                str(len(look.paths)),
                str(look.labelled),
                f"{len(counts)} ({counts[0]} to {counts[-1]})" if counts else "-",
                f"{sides[0]} to {sides[-1]}" if sides else "-",
                ", ".join(sorted(look.formats)),
            ]
        )
    head = ["domain", "role", "images", "labelled", "classes (images)", "sides, pixels", "formats"]
    return Sheet("", head, rows, 2)


def _commands(card: Path, recipe: Path, task: "TaskName") -> list[list[str]]:
    commands = [["datasets", "check", f"./{card}", "--task", str(task)], ["train", str(recipe)]]
    if not task.alone:
        commands.append(["compare", str(recipe), "--method", "mcc,cdan", "--norm", "bn,uan", "--seed", "0..2"])
    return commands
