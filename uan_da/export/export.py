"""A run's network as a file that needs this package no more."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from uan_da.data.digest import digest
from uan_da.errors import Failure, UserError
from uan_da.evaluation.deployed import Deployed
from uan_da.export.folding import folded
from uan_da.export.formats import Format, Outputs, format_of
from uan_da.export.images import trial_images
from uan_da.files import read_bytes, read_json, whole_file, write_text
from uan_da.training.run import Run
from uan_da.training.trained import Trained
from uan_da.version import version

TOLERANCE = 1e-4
"""The most by which a probability may differ from PyTorch's."""


@dataclass(frozen=True)
class Exported:
    """What was written, and how far its predictions are from PyTorch's: the most that a probability differs."""

    file: Path
    labels: Path
    difference: float
    images: int
    what: str


def export_run(
    run: Run, format_name: str | None, out: Path, *, checkpoint: str = "last", overwrite: bool = False
) -> Exported:
    """Write the network of a checkpoint as ``out``, and its classes, one a line, as ``NAME.labels.txt`` beside it.

    The file takes float32 images ``(N, C, H, W)`` in [0, 1] at the network's size, and returns ``logits`` and
    ``probabilities``. It is compared with PyTorch's predictions on real images before it gets its name.

    Args:
        run: its folder is all that is needed.
        format_name: ``onnx`` or ``pt2``; None: the one that ends like ``out``.
        out: the file.
        checkpoint: ``last``, ``selected`` or ``oracle``.
        overwrite: replace what is there.

    Raises:
        UserError: ``out`` does not end like its format, exists or cannot be written, a package is missing, or the run
            lacks the checkpoint.
        Failure: the exporter cannot express the network, or the file's predictions differ; nothing is written.
    """
    chosen, labels = format_of(format_name, out), out.with_suffix(".labels.txt")
    chosen.check()
    if not out.parent.is_dir():
        raise UserError(f"{out}: there is no folder {out.parent}")
    trained = Trained.load(run, checkpoint, torch.device("cpu"))
    names = "".join(f"{name}\n" for name in trained.classes)
    if not overwrite and (taken := _taken(out, labels, names)):
        raise UserError(f"{taken}: exists already. Replace it: --overwrite")
    trial = trial_images(trained.recipe)
    content, predictions = _made(chosen, trained, metadata(run, trained, checkpoint), trial.images)
    difference = _compare(predictions, _outputs(trained, trial.images), trial.what)
    with whole_file(out) as file:
        file.write(content)
    write_text(labels, names)
    return Exported(out, labels, difference, len(trial.images), trial.what)


def _taken(out: Path, labels: Path, names: str) -> Path | None:
    """The file that would be replaced. Equal labels are not: the other format of the same run has written them."""
    if out.exists():
        return out
    equal = labels.is_file() and labels.read_bytes() == names.encode()
    return labels if labels.exists() and not equal else None


def metadata(run: Run, trained: Trained, checkpoint: str) -> dict[str, Any]:
    """What a program must know of the file, and where it comes from."""
    recipe, input = trained.recipe, trained.recipe.input
    return {
        "schema": 1,
        "uan_da": version(),
        "classes": list(trained.classes),
        "input": {
            "name": "images",
            "shape": ["batch", input.channels, input.side, input.side],
            "type": "float32",
            "range": [0, 1],
            "channels": "RGB" if input.channels == 3 else "luminance",
            "resize": input.size if input.resize == "short" else [input.size, input.size],
            "interpolation": "bilinear, antialiased",
            "center_crop": [input.side, input.side],
        },
        "outputs": ["logits", "probabilities"],
        "dataset": recipe.dataset,
        "task": str(recipe.task),
        "backbone": recipe.backbone.name,
        "norm": recipe.norm.name,
        "method": recipe.method.name,
        "checkpoint": checkpoint,
        "step": trained.step,
        "recipe": digest([read_bytes(run.recipe_file)]),
        "accuracy": _accuracy(run, checkpoint),
    }


def _accuracy(run: Run, checkpoint: str) -> dict[str, float | None]:
    """Of each domain's test images, as the run measured it; of an adapted run, of the images that it was adapted to.

    Empty where what was measured is another network: one with recalibrated statistics."""
    if (run.folder / "adapt.json").is_file():
        run.check_whole("adapt.json")
        return {"adapted_to": read_json(run.folder / "adapt.json")["after"]["accuracy"]}
    if not run.done or run.recipe.evaluation.recalibrate != "none":
        return {}
    chosen = run.results["selections"].get(checkpoint) or {"domains": {}}
    return {name: numbers["accuracy"] for name, numbers in chosen["domains"].items()}


def _made(format: Format, trained: Trained, facts: dict[str, Any], images: torch.Tensor) -> tuple[bytes, Outputs]:
    """The file's content, and what it says of ``images``."""
    network = Deployed(folded(trained.model), trained.recipe.input, trained.domain)
    try:
        content = format.make(network, facts)
        return content, format.run(content, images)
    except Exception as error:  # exporters raise all kinds
        reason = " ".join(str(error).split())[:300]
        raise Failure(f"PyTorch cannot export this network: {type(error).__name__}: {reason}") from error


@torch.no_grad()
def _outputs(trained: Trained, images: torch.Tensor) -> Outputs:
    network = Deployed(trained.model, trained.recipe.input, trained.domain)
    logits, probabilities = network(images)
    return logits, probabilities


def _compare(exported: Outputs, ours: Outputs, what: str) -> float:
    """The most that a probability differs.

    Raises:
        Failure: that is more than :data:`TOLERANCE`.
    """
    difference = float((exported[1] - ours[1]).abs().max())
    if not difference <= TOLERANCE:  # NaN is no agreement
        raise Failure(
            f"the exported network predicts otherwise than the run: on {what} a probability differs by "
            f"{difference:.2g}, and {TOLERANCE:g} is allowed. Nothing was written"
        )
    return difference
