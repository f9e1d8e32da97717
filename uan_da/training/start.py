"""A recipe for a user's own images, by what they are and what this machine has."""

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any

import torch

from uan_da.data.survey import Survey
from uan_da.errors import UserError
from uan_da.models.published import published_weights
from uan_da.recipe import find_recipe
from uan_da.recipe.load import check_recipe
from uan_da.recipe.overrides import PER_METHOD, apply_overrides
from uan_da.recipe.source import Source, read_yaml
from uan_da.recipe.task_name import TaskName, parse_task
from uan_da.trust import FILES

SMALL = 64
"""Images with a shorter side, in pixels, are no photographs: they are trained as digits are."""
RESNET50, RESNET18 = ("resnet50", "IMAGENET1K_V1"), ("resnet18", "IMAGENET1K_V1")
LITE = ("efficientnet_lite0", "default")
"""Its weights are a package: where that is installed, nothing is downloaded."""
SHORT = (
    "input.size=144",
    "input.crop=128",
    "train.steps=500",
    "train.steps_per_epoch=50",
    "augment.weak=[{name: resized_crop, size: 128}, {name: flip}]",
    "augment.strong=[{name: resized_crop, size: 128, scale: [0.5, 1.0]}, {name: flip}, "
    "{name: rand_augment, num_ops: 2, magnitude: 0.5}]",
)
"""What a CPU does in minutes."""
UNTRAINED = ("train.optimizer={name: adam, lr: 1e-3}", "train.schedule=constant")
"""The rates of published weights would hardly move random ones."""


@dataclass(frozen=True)
class Start:
    """A recipe's keys, and what its user should know of how they were chosen."""

    recipe: dict[str, Any]
    task: TaskName
    notes: Sequence[str]


def recipe_for(found: Survey, dataset: str, overrides: Sequence[str] = ()) -> Start:
    """The recipe for a data set of image files: ``photos``, smaller on a CPU, or ``digits`` for tiny images.

    Args:
        found: what the data set holds.
        dataset: as the recipe will spell it.
        overrides: the user's own ``key=value``, which win.

    Raises:
        UserError: no domain can be a source, or an override is wrong.
    """
    task = _task(found, overrides)
    _check_names(task)
    own = [text.partition("=")[0] for text in overrides]
    notes: list[str] = []
    if found.short_side < SMALL:
        name, changes = "digits", _of_tiny_images(found)
        notes.append(f"images of {found.short_side} pixels: a small network, trained from random weights")
    else:
        name, changes = "photos", _of_this_machine(notes, chosen="backbone" in own or "backbone.name" in own)
    if task.alone:
        changes.append("method=source_only")
        notes.append("one domain: nothing to adapt to; put the target's images into a folder beside it")
    source = read_yaml(find_recipe(name))
    apart = source.data.pop(PER_METHOD)
    description = f"description={', '.join(task.sources)} to {task.target}" if not task.alone else f"description={task}"
    apply_overrides(source, [f"dataset={dataset}", f"task={task}", description, *changes, *overrides])
    if source.data["backbone"].get("weights", "none") != "none":
        source.data[PER_METHOD] = apart
    elif name == "photos":
        apply_overrides(source, [text for text in UNTRAINED if text.partition("=")[0] not in own])
    _check(source)
    return Start(source.data, task, notes)


def _task(found: Survey, overrides: Sequence[str]) -> TaskName:
    """The last one that the user gives; without one, what the images suggest."""
    given = [text.partition("=")[2] for text in overrides if text.partition("=")[0] == "task"]
    if not given:
        return found.task()
    try:
        task = parse_task(given[-1])
    except ValueError as error:
        raise UserError(f"command line: task: {error}") from error
    names = [look.name for look in found.domains]
    for name in task.domains:
        if name not in names:
            raise UserError(f"command line: task: no domain {name!r} among the images; they have {', '.join(names)}")
    return task


def _check(source: Source) -> None:
    trial = deepcopy(source)
    apply_overrides(trial, [])
    check_recipe(trial, FILES)


def _check_names(task: TaskName) -> None:
    for name in task.domains:
        if any(mark in name for mark in (":", "+", "→", "->")):
            raise UserError(
                f"domain {name!r}: ':', '+' and '->' join the domains of a task: rename the folder, or name the domain "
                f"otherwise in a card (uan-da datasets init), with its folder as 'path'"
            )


def _of_tiny_images(found: Survey) -> list[str]:
    side = max(16, min(64, found.short_side))
    return [
        f"input.size={side}",
        "train.epochs=null",
        "train.steps=800",
        "augment.strong=[{name: crop, padding: 2}, {name: rand_augment, num_ops: 2, magnitude: 0.5}]",
    ]


def _of_this_machine(notes: list[str], *, chosen: bool) -> list[str]:
    """A large network on a GPU, a small one on a CPU; its weights are fetched now, so that training does not fail."""
    gpu = torch.cuda.is_available()
    changes = ["train.precision=bf16"] if gpu and torch.cuda.is_bf16_supported() else [] if gpu else list(SHORT)
    if not gpu:
        notes.append("no GPU: images of 128 pixels and 500 steps; more: input.size, input.crop, train.steps")
    if chosen:
        return changes
    problems: list[str] = []
    for backbone, weights in (RESNET50, LITE) if gpu else (RESNET18, LITE):
        try:
            published_weights(backbone, weights)
        except UserError as error:
            problems.append(str(error))
            continue
        notes.append(f"backbone: {backbone} with ImageNet's weights")
        return [*changes, f"backbone={{name: {backbone}, weights: {weights}}}"]
    notes.append(f"{problems[0]}\n  or: {problems[1]}\n  until then: random weights, which need many photographs")
    return [*changes, f"backbone={(RESNET50 if gpu else RESNET18)[0]}"]
