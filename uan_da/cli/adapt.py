"""``uan-da adapt``."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uan_da.cli.evaluate import Checkpoint
from uan_da.cli.options import DataRoot, Trusted, trust_of

if TYPE_CHECKING:
    from uan_da.sweeps.sheet import Sheet

SHOWN = 5
"""Classes whose share of the predictions changed most."""


def adapt(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    images: Annotated[
        str,
        typer.Argument(
            help="A folder of images; where it is <class>/*.jpg, accuracy is measured too. Or domain:NAME, a domain of "
            "the run's data set."
        ),
    ],
    method: Annotated[
        str, typer.Option(help="uan, adabn, tent, shot, nrc, aad, plue or lame: see uan-da list methods.")
    ],
    options: Annotated[list[str] | None, typer.Argument(help="Options of the method: method.lr=1e-3")] = None,
    checkpoint: Annotated[Checkpoint, typer.Option(help="The checkpoint to adapt.")] = Checkpoint.last,
    out: Annotated[Path | None, typer.Option(help="The new run folder.  [default: RUN-METHOD]")] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in --out.")] = False,
    online: Annotated[
        bool,
        typer.Option("--online", help="Predict in file order while adapting, with a stream method: uan, tent."),
    ] = False,
    batch: Annotated[int, typer.Option(min=1, help="Batch size of --online.")] = 64,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Adapt a trained run to unlabelled images, without any source image; writes a new run folder."""
    from uan_da.cli.console import Console
    from uan_da.recipe import Block
    from uan_da.streams.cells import stream_method
    from uan_da.streams.online import adapt_online
    from uan_da.training.adapt import adapt_run, default_folder, source_free_method
    from uan_da.training.run import Run

    opened, given = Run.open(run, trust_of(trust)), options or []
    common: dict[str, Any] = {"checkpoint": checkpoint.value, "device_name": device, "overwrite": overwrite}
    chosen: Block[Any]
    with Console() as console:
        if online:
            chosen = stream_method(method, given)
            folder = out or default_folder(opened, chosen)
            report = adapt_online(opened, Path(images), chosen, folder, batch=batch, **common)
        else:
            chosen = source_free_method(method, given)
            folder = out or default_folder(opened, chosen)
            report = adapt_run(opened, images, chosen, folder, **common)
        named = "  ".join(f"{key}: {value}" for key, value in chosen.options.items())
        console.show(before_after_sheet(report, f"{chosen.name}  {named}".rstrip()))
        if report["conditions"]:
            console.show(conditions_sheet(report))
        for line in changes(report):
            console.say(line)
        console.say(f"written: {folder / 'predictions.csv'}")
        console.say(f"run: {folder}   next: uan-da predict {shlex.quote(str(folder))} IMAGES")


def before_after_sheet(report: dict[str, Any], title: str) -> "Sheet":
    """Confidence, entropy and, of labelled images, accuracy: before and after."""
    from uan_da.cli.console import percent
    from uan_da.sweeps.sheet import Sheet

    ends = report["before"], report["after"]
    rows = [
        ["mean confidence", *(percent(end["confidence"]) for end in ends)],
        ["mean entropy (nats)", *(f"{end['entropy']:.3f}" for end in ends)],
    ]
    if report["labelled"]:
        rows.append(["accuracy", *(percent(end["accuracy"]) for end in ends)])
        rows.append(["95 % interval", *(" to ".join(map(percent, end["interval"])) for end in ends)])
    return Sheet(title, [f"{report['n']} images", "before", "after"], rows, 1)


def conditions_sheet(report: dict[str, Any]) -> "Sheet":
    """The conditions that a method found: their share, confidence and, of labelled images, accuracy."""
    from uan_da.cli.console import percent
    from uan_da.sweeps.sheet import Sheet

    heads = ["condition", "images %", "confidence", *(["accuracy"] if report["labelled"] else [])]
    rows = []
    for number, one in enumerate(report["conditions"], 1):
        ends = [one["confidence"], *([one["accuracy"]] if report["labelled"] else [])]
        arrows = ["–" if pair[0] is None else " → ".join(map(percent, pair)) for pair in ends]
        rows.append([str(number), percent(one["share"]), *arrows])
    return Sheet(f"{len(rows)} {'condition' if len(rows) == 1 else 'conditions'} found", heads, rows, 1)


def changes(report: dict[str, Any]) -> list[str]:
    """What became of the predictions, a line each."""
    from uan_da.cli.console import percent
    from uan_da.evaluation.verdict import points

    n, changed = report["n"], report["changed"]
    lines = [
        f"predictions changed: {changed} of {n} ({percent(changed / n)} %)",
        f"predicted class shares changed by {percent(report['shift'])} % (total variation)",
    ]
    shares = zip(report["classes"], report["before"]["class_shares"], report["after"]["class_shares"], strict=True)
    moved = sorted(shares, key=lambda row: -abs(row[2] - row[1]))
    most = [f"{name} {percent(old)} → {percent(new)}" for name, old, new in moved[:SHOWN] if old != new]
    if most:
        lines.append(f"largest changes: {', '.join(most)}")
    if report["labelled"]:
        gain = report["gain"]
        lines.append(f"accuracy: {points(gain)} on the same {gain['n']} images, McNemar p = {gain['p_value']:.2g}")
    return lines
