"""``uan-da evaluate``."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from uan_da.cli.options import DataRoot, Trusted, trust_of

if TYPE_CHECKING:
    from uan_da.sweeps.sheet import Sheet


class Checkpoint(StrEnum):
    """Which of a run's checkpoints."""

    last = "last"
    selected = "selected"
    oracle = "oracle"


class Split(StrEnum):
    """Which images of a domain."""

    test = "test"
    train = "train"


class Recalibrate(StrEnum):
    """Whose statistics the norms use."""

    none = "none"
    target = "target"


def evaluate(
    run: Annotated[Path, typer.Argument(help="A run folder.")],
    checkpoint: Annotated[
        Checkpoint, typer.Option(help="The last epoch's, the validator's choice, or the best by target labels.")
    ] = Checkpoint.last,
    domain: Annotated[
        list[str] | None,
        typer.Option(help="Only this domain of the data set, or DATASET:DOMAIN of another; may be repeated."),
    ] = None,
    split: Annotated[Split, typer.Option(help="The images of this split.")] = Split.test,
    recalibrate: Annotated[
        Recalibrate | None,
        typer.Option(help="target: statistics from the domain's own training images.  [default: the recipe's]"),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps")] = "auto",
    trust: Trusted = False,
    data_root: DataRoot = None,
) -> None:
    """Accuracy, precision, recall, F1 and calibration of a run on every domain; writes its predictions."""
    from uan_da.cli.console import Console, domains_sheet, open_set_lines
    from uan_da.training.evaluate_run import evaluate_run
    from uan_da.training.run import Run

    with Console() as console:
        opened = Run.open(run, trust_of(trust))
        report = evaluate_run(
            opened,
            checkpoint.value,
            domain or [],
            device,
            split=split.value,
            recalibrate=recalibrate.value if recalibrate else None,
        )
        title = f"{checkpoint.value}, step {report['step']}, {split.value} images"
        console.show(domains_sheet(report["domains"], title))
        console.show(calibration_sheet(report["domains"]))
        for line in [*open_set_lines(report["domains"]), *findings(report)]:
            console.say(line)
        console.say(f"written: {report['file']}, and its .csv of every prediction")


def calibration_sheet(domains: dict[str, dict[str, Any]]) -> "Sheet":
    """Negative log-likelihood, calibration error, AUROC of the confidence, and the worst class."""
    from uan_da.cli.console import percent
    from uan_da.sweeps.sheet import Sheet

    rows = []
    for name, numbers in domains.items():
        nll = "-" if numbers["nll"] is None else f"{numbers['nll']:.3f}"
        worst = min((share for share in numbers["per_class"] or [] if share is not None), default=None)
        rows.append([name, nll, percent(numbers["ece"]), percent(numbers["auroc"]), percent(worst)])
    return Sheet("confidence", ["domain", "NLL", "ECE", "AUROC", "worst class"], rows, 1)


def findings(report: dict[str, Any]) -> list[str]:
    """What else an evaluation of the whole task has to say, a line each."""
    from uan_da.cli.console import percent

    if "harmonic_mean" not in report:
        return []
    distance = report["a_distance"]
    lines = [f"harmonic mean of source and target accuracy: {percent(report['harmonic_mean'])}"]
    if distance is not None:
        lines.append(f"proxy A-distance of the features: {distance:.2f} (0: alike, 2: always told apart)")
    aligned = [ratio < 1 for ratio in report["class_alignment"] if ratio is not None]
    if aligned:
        lines.append(
            f"classes whose target mean is nearest to the same class of the source: {sum(aligned)} of {len(aligned)}"
        )
    return lines + [f"clusters of {layer['layer']}: {layer['statement']}" for layer in report["clusters"]]
