"""A trained run, adapted to a folder of unlabelled images: a new run folder."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import ValidationError

from uan_da.data.adapter import Examples
from uan_da.data.image_files import DamagedImage
from uan_da.data.images import ImageSet
from uan_da.data.label_space import dataset_of
from uan_da.data.own_images import target_folder
from uan_da.data.storage import store
from uan_da.errors import UserError
from uan_da.evaluation.before_after import before_after, conditions
from uan_da.evaluation.predict import NonFinitePredictions, Predictions, predict
from uan_da.evaluation.record import save_examples
from uan_da.files import whole_file, write_json
from uan_da.methods.method import SourceFreeMethod
from uan_da.methods.target import Target
from uan_da.names import METHODS, unknown
from uan_da.recipe import Block, Recipe
from uan_da.recipe.blocks import NormBlock
from uan_da.recipe.load import describe_problems
from uan_da.recipe.overrides import apply_overrides
from uan_da.recipe.schema import Evaluation
from uan_da.recipe.source import Source
from uan_da.recipe.strict import Strict
from uan_da.seeding import fold
from uan_da.spreadsheet import to_csv
from uan_da.training.checkpoint import Manifest
from uan_da.training.device import choose_device
from uan_da.training.failure import told
from uan_da.training.lock import is_empty, locked
from uan_da.training.record import Record
from uan_da.training.run import Run, check_folder
from uan_da.training.trained import Trained, confidence_table
from uan_da.trust import FILES


@dataclass(frozen=True)
class SourceFreeBlock(Block[SourceFreeMethod]):
    """A method that adapts a trained run: called with the model and the number of classes, it is built."""

    names: ClassVar = METHODS

    target: type[SourceFreeMethod]

    @classmethod
    def load(cls, name: str) -> Any:
        """The class of that name; ValueError if it needs a source, or does not exist."""
        if ":" not in name and name not in METHODS.targets:
            raise ValueError(unknown("source-free method", name, _source_free_names()))
        target = super().load(name)
        if not issubclass(target, SourceFreeMethod):
            able = ", ".join(_source_free_names())
            raise ValueError(
                f"method {name!r} needs labelled source images: train with it. Source-free methods: {able}"
            )
        return target


def _source_free_names() -> list[str]:
    return [name for name in METHODS.targets if issubclass(METHODS.load(name), SourceFreeMethod)]


class _Options(Strict):
    method: SourceFreeBlock


def source_free_method(name: str, options: Iterable[str] = ()) -> SourceFreeBlock:
    """The method of that name with ``options`` such as ``method.lr=1e-3``.

    Raises:
        UserError: all that is wrong with them; or the method needs a source.
    """
    source = Source("command line", {"method": {"name": name}})
    apply_overrides(source, options)
    try:
        return _Options.model_validate(source.data, context=FILES).method
    except ValidationError as error:
        raise UserError(describe_problems(source, error)) from None


def default_folder(run: Run, method: Block[Any]) -> Path:
    """``RUN-METHOD``, beside the run."""
    folder = run.folder if run.folder.name not in ("", "..") else run.folder.resolve()
    return folder.with_name(f"{folder.name}-{method.name.replace(':', '_')}")


def adapt_run(
    run: Run,
    images: Path | str,
    method: SourceFreeBlock,
    out: Path,
    *,
    checkpoint: str = "last",
    device_name: str = "auto",
    overwrite: bool = False,
) -> dict[str, Any]:
    """Adapt a checkpoint of ``run`` to ``images``, and write the run folder ``out``.

    Images are those of a folder, or, as ``domain:NAME``, the training images of a domain of the run's data set. Labels
    that are known are used to measure, and never given to the method.

    Returns:
        ``adapt.json``: what was adapted to what and how, and all of :func:`before_after`. In ``out`` are also the
        recipe (whose ``evaluation`` measures the network as it is), ``checkpoints/last.pt``, ``model.safetensors`` and
        ``predictions.csv``. Everything is a function of the run, the images, the options and the recipe's seed.

    Raises:
        UserError: a folder cannot be used, an image cannot be read, or the method cannot adapt this network.
    """
    check_out(out, run, Path(images), overwrite)
    _check_setting(run, method)
    trained = Trained.load(run, checkpoint, choose_device(device_name))
    examples, names = _examples(str(images), run, trained)
    try:
        (stored,) = store([examples], trained.recipe.input, trained.device)
    except DamagedImage as error:
        raise UserError(f"{error}; repair it, or take it out. `uan-da predict` names all such files") from None
    before, after, built = _adapt(trained, method, stored)
    of_what = {"run": str(run.folder), "checkpoint": checkpoint, "step": trained.step, "images": str(images)}
    how = {"method": method.to_dict(), "seed": trained.recipe.seed, "classes": list(trained.classes)}
    report: dict[str, Any] = of_what | how | _found(before, after, built, names) | {"schema": 1}
    new, table = Run(out), confidence_table(names, after, trained.classes)
    with locked(out), told(new):
        write_adapted(new, _adapted_recipe(trained.recipe, built), trained, run.record, overwrite)
        with whole_file(out / "predictions.csv") as file:
            file.write(to_csv(table))
        if report["conditions"]:
            save_examples(out / "adapt.npz", stored, report["conditions"])
        write_json(out / "adapt.json", report)
        new.finish()
    return report


def check_out(out: Path, run: Run, folder: Path, overwrite: bool) -> None:
    """UserError where ``out`` is a file or in use, or replacing it would delete the run, the images, or no run."""
    for kept, what in ((run.folder, "the run that is adapted"), (folder, "the images")):
        if kept.resolve().is_relative_to(out.resolve()):
            raise UserError(f"--out {out}: holds {what}; choose another folder")
    check_folder(out)
    if not out.is_dir() or is_empty(out):
        return
    if not overwrite:
        raise UserError(f"{out}: is not empty. Replace the run in it: --overwrite; or write elsewhere: --out DIR")
    Run(out).check_replaceable()


def _check_setting(run: Run, method: SourceFreeBlock) -> None:
    setting, served = run.recipe.setting, method.target.settings
    if setting not in served:
        raise UserError(
            f"method {method.name!r} adapts runs of {', '.join(served)}, and {run.folder} is one of "
            f"{setting} adaptation (uan-da list methods --setting {setting})"
        )


def _examples(images: str, run: Run, trained: Trained) -> tuple[Examples, list[str]]:
    """The images to adapt to, and what each is called."""
    prefix, _, name = images.partition(":")
    if prefix != "domain" or Path(images).exists():
        files = target_folder(Path(images), trained.classes)
        return files, [str(path) for path in files.paths]
    run.record.check_classes(Record.of(trained.recipe), str(run.folder))
    dataset = dataset_of(trained.recipe)
    if name not in dataset.domains:
        raise UserError(unknown("domain", name, dataset.domains))
    examples = dataset.load(name, "train")
    return examples, [f"{name}/{index}" for index in range(len(examples))]


def _adapt(
    trained: Trained, method: SourceFreeBlock, stored: ImageSet
) -> tuple[Predictions, Predictions, SourceFreeMethod]:
    """The predictions before and after, and the method; the network of ``trained`` is adapted in place."""
    recipe, model = trained.recipe, trained.model
    weak, strong = ([augmentation() for augmentation in view] for view in (recipe.augment.weak, recipe.augment.strong))
    target = Target(stored.unlabelled(), recipe.input, trained.domain, weak, recipe.seed, trained.device, strong)
    before = predict(model, stored, recipe.input, trained.domain)
    with torch.random.fork_rng():
        torch.manual_seed(fold(recipe.seed, "adapt"))
        built = method(model, len(trained.classes))
        own = built.adapt(model, target)
    try:
        after = predict(model, stored, recipe.input, trained.domain) if own is None else _as_predictions(own, before)
    except NonFinitePredictions:
        raise UserError(
            f"adapting by {method.name} ended in predictions that are not finite; smaller steps may help"
        ) from None
    return before, after, built


def _as_predictions(probabilities: torch.Tensor, before: Predictions) -> Predictions:
    """A method's own predictions, on the features that the network has."""
    logits = probabilities.double().cpu().clamp_min(torch.finfo(torch.float64).tiny).log()
    return Predictions(before.features, logits, before.labels)


def _found(before: Predictions, after: Predictions, built: SourceFreeMethod, names: list[str]) -> dict[str, Any]:
    """What changed, in all and by the groups that the method found."""
    scores = None if built.scores is None else {str(count): score for count, score in built.scores.items()}
    groups = conditions(before, after, built.groups, names)
    return {**before_after(before, after), "conditions": groups, "scores": scores}


def _adapted_recipe(recipe: Recipe, built: SourceFreeMethod) -> Recipe:
    """With the norm that the method put in; its evaluation measures the network as it is."""
    norm = {} if built.norm is None else {"norm": NormBlock.parse(built.norm)}
    return recipe.model_copy(update={"evaluation": Evaluation(), **norm})


def write_adapted(new: Run, recipe: Recipe, trained: Trained, record: Record, overwrite: bool) -> None:
    """The adapted network as a run, of the record of the one that it was."""
    new.create(recipe, record, overwrite)
    state = {"step": trained.step, "model": trained.model.state_dict()}
    saved = new.checkpoints.write_state(trained.step, state)
    new.checkpoints.publish(Manifest(new.identity, trained.step, files={"last": saved}))
    new.save_model(trained.model)
