"""A finished or interrupted run, evaluated from its folder."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch

from uan_da.data.adapter import Split
from uan_da.data.digest import digest
from uan_da.data.task import Domain, Task, build_task, load_unseen
from uan_da.errors import UserError
from uan_da.evaluation.diagnose import diagnose
from uan_da.evaluation.evaluate import domains_harmonic_mean, predict_domain, summarize
from uan_da.evaluation.predict import NonFinitePredictions
from uan_da.evaluation.record import predictions_table, save_arrays
from uan_da.files import read_bytes, read_json, whole_file, write_json
from uan_da.models.classifier import build_model
from uan_da.recipe import Recipe
from uan_da.recipe.schema import Evaluation
from uan_da.spreadsheet import to_csv
from uan_da.training.device import choose_device
from uan_da.training.record import Record
from uan_da.training.run import Run

KINDS = ("json", "csv", "npz")
"""What the files of an evaluation are."""


def evaluate_run(
    run: Run,
    checkpoint: str = "last",
    domains: Sequence[str] = (),
    device_name: str = "auto",
    *,
    split: Split = "test",
    recalibrate: Literal["none", "target"] | None = None,
) -> dict[str, Any]:
    """The numbers of a checkpoint, and the predictions behind them.

    Args:
        run: its folder.
        checkpoint: ``last``, ``selected``, or ``oracle`` where the recipe kept it.
        domains: names of the data set's domains, or ``DATASET:DOMAIN``; those that the run never saw are routed as
            its target. All of the task's where there is none.
        device_name: ``auto``, or a name of PyTorch's.
        split: whose images.
        recalibrate: in place of the recipe's ``evaluation.recalibrate``.

    Returns:
        ``checkpoint``, ``step``, ``split``, ``recalibrate``, ``classes``, ``domains``; and, of the test images of the
        whole task, ``harmonic_mean`` and what :func:`uan_da.evaluation.diagnose.diagnose` says. It is written to
        ``evaluation/NAME.json``, every prediction to ``NAME.csv`` and features and images to ``NAME.npz``; NAME is the
        checkpoint and whatever departs from the defaults.

    Raises:
        UserError: the run lacks the checkpoint, there is no such domain, or the classes have changed since.
        NonFinitePredictions: a prediction is not finite.
    """
    device, recipe = choose_device(device_name), run.recipe
    run.record.check_classes(Record.of(recipe), str(run.folder))
    options = Evaluation(recalibrate=recalibrate or recipe.evaluation.recalibrate)
    task = build_task(recipe, device)
    chosen = _domains(task, recipe, domains, device)
    model = build_model(recipe, len(task.classes), pretrained=False).to(device)
    step = run.load_weights(model, checkpoint, device)
    try:
        predictions = {domain.name: predict_domain(model, task, domain, options, split) for domain in chosen}
    except NonFinitePredictions as error:
        raise error.about(f"{run.folder}, checkpoint {checkpoint!r}") from None
    report: dict[str, Any] = {"checkpoint": checkpoint, "step": step, "split": split, **options.model_dump()}
    report["classes"] = list(task.classes)
    report["domains"] = summarize(predictions, chosen, split, shared=task.shared)
    name, folder = _file_name(checkpoint, domains, split, recalibrate), run.folder / "evaluation"
    folder.mkdir(exist_ok=True)
    if not domains and split == "test":
        report |= {
            "harmonic_mean": domains_harmonic_mean(report["domains"]),
            **diagnose(model, task, options, predictions),
        }
        shown = [image for layer in report["clusters"] for own in layer["examples"] for image in own]
        save_arrays(folder / f"{name}.npz", predictions, chosen, [*shown, *report["mistakes"]])
    with whole_file(folder / f"{name}.csv") as file:
        file.write(to_csv(predictions_table(predictions, chosen, task.classes, split)))
    write_json(folder / f"{name}.json", report)
    seal(folder, name)
    return report | {"file": str(folder / f"{name}.json")}


def _domains(task: Task, recipe: Recipe, names: Sequence[str], device: torch.device) -> list[Domain]:
    known = {domain.name: domain for domain in task.domains}
    if not names:
        return list(known.values())
    return [known[name] if name in known else load_unseen(task, recipe, name, device) for name in names]


def _file_name(checkpoint: str, domains: Sequence[str], split: Split, recalibrate: str | None) -> str:
    """The checkpoint, and whatever departs from the defaults."""
    differs = [*domains, split if split == "train" else "", f"recalibrate={recalibrate}" if recalibrate else ""]
    return "-".join([checkpoint, *filter(None, differs)]).replace("/", "_").replace(":", "_")


def seal(folder: Path, name: str) -> None:
    """Keep digests of the files of an evaluation."""
    files = [folder / f"{name}.{kind}" for kind in KINDS]
    digests = {path.name: digest([read_bytes(path)]) for path in files if path.is_file()}
    write_json(folder / f"{name}.digests.json", digests)


def is_whole(folder: Path, name: str) -> bool:
    """Whether the files of an evaluation are there, as they were written."""
    try:
        digests = read_json(folder / f"{name}.digests.json")
        return bool(digests) and all(digest([read_bytes(folder / file)]) == own for file, own in digests.items())
    except UserError:
        return False
