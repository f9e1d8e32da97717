"""A trained run that predicts a user's own images in the order of their files, and adapts meanwhile."""

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from uan_da.data.images import ImageSet
from uan_da.data.own_images import target_folder
from uan_da.data.storage import store
from uan_da.evaluation.before_after import before_after
from uan_da.evaluation.predict import Predictions, predict
from uan_da.files import whole_file, write_json
from uan_da.recipe.blocks import NormBlock
from uan_da.recipe.schema import Evaluation
from uan_da.spreadsheet import to_csv
from uan_da.streams.cells import StreamBlock
from uan_da.streams.method import Left, Surroundings
from uan_da.training.adapt import check_out, write_adapted
from uan_da.training.device import choose_device
from uan_da.training.failure import told
from uan_da.training.lock import locked
from uan_da.training.run import Run
from uan_da.training.trained import Trained, confidence_table


def adapt_online(
    run: Run,
    folder: Path,
    method: StreamBlock,
    out: Path,
    *,
    batch: int = 64,
    checkpoint: str = "last",
    device_name: str = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Predict the images in ``folder`` once, ``batch`` at a time in the order of their paths, while ``method`` adapts.

    Returns:
        The content of ``adapt.json``, as in :func:`uan_da.training.adapt.adapt_run`; "after" describes the predictions
        on the stream. The run folder ``out`` has these predictions and the final network, whose own predictions may
        differ.

    Raises:
        UserError: a folder cannot be used, an image cannot be read, the method cannot adapt this network, or a run
            cannot store the adapted network.
    """
    check_out(out, run, folder, overwrite)
    trained = Trained.load(run, checkpoint, choose_device(device_name))
    trained.require_closed_set()
    images, recipe = target_folder(folder, trained.classes), trained.recipe
    (stored,) = store([images], recipe.input, trained.device)
    before, after, left = _predict_once(trained, method, stored, batch)
    norm = recipe.norm if left.norm is None else NormBlock.parse(left.norm)
    new_recipe = recipe.model_copy(update={"norm": norm, "evaluation": Evaluation()})
    report: dict[str, Any] = {
        "run": str(run.folder),
        "checkpoint": checkpoint,
        "step": trained.step,
        "images": str(folder),
        "method": method.to_dict(),
        "online": True,
        "batch": batch,
        "seed": recipe.seed,
        "classes": list(trained.classes),
        **before_after(before, after),
        "conditions": [],
        "scores": None,
        "schema": 1,
    }
    new, table = Run(out), confidence_table([str(path) for path in images.paths], after, trained.classes)
    with locked(out), told(new):
        write_adapted(new, new_recipe, replace(trained, model=left.model), run.record, overwrite)
        with whole_file(out / "predictions.csv") as file:
            file.write(to_csv(table))
        write_json(out / "adapt.json", report)
    return report


def _predict_once(
    trained: Trained, method: StreamBlock, stored: ImageSet, batch: int
) -> tuple[Predictions, Predictions, Left]:
    """The predictions of the network as it is, those on the stream, and the network after it."""
    recipe = trained.recipe
    before = predict(trained.model, stored, recipe.input, trained.domain)
    weak, strong = ([augmentation() for augmentation in v] for v in (recipe.augment.weak, recipe.augment.strong))
    around = Surroundings(recipe.input, trained.domain, batch, weak, strong, recipe.seed, trained.device)
    with torch.random.fork_rng():
        torch.manual_seed(recipe.seed)
        built = method(copy.deepcopy(trained.model), len(trained.classes), around)
        built.leaves()  # before any image is predicted in vain
        with torch.no_grad():
            parts = [built.predict(some.pixels.to(trained.device)) for some in stored.unlabelled().batches(batch)]
    after = Predictions(before.features, torch.cat(parts).double().cpu(), before.labels)
    return before, after, built.leaves()
