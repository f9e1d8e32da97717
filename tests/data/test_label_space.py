"""Whose images a task has when source and target have classes of their own."""

import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.data.adapter import Arrays, labels_of
from uan_da.data.fingerprint import fingerprint
from uan_da.data.image_files import ImageFiles
from uan_da.data.label_space import Chosen, LabelSpace, chosen
from uan_da.data.open_dataset import open_dataset
from uan_da.data.task import build_task, load_unseen, task_of
from uan_da.errors import DataWarning, UserError
from uan_da.recipe import load_recipe
from uan_da.recipe.classes import Classes

CPU = torch.device("cpu")
UNIVERSAL = Classes(shared=6, source=2, target=2)


class Plain:
    """Classes a to d, and an image of no known class; each image is as bright as its label says."""

    domains, classes = ("one", "two"), tuple("abcd")

    def load(self, domain: str, split: str) -> list[tuple[Image.Image, int]]:
        return [(Image.new("L", (4, 4), 10 * label + 50), label) for label in (3, 0, -1, 2, 1, 0, 2)]


def test_each_domain_has_the_images_of_its_own_classes() -> None:
    space = LabelSpace(Plain(), Classes(shared=("c",), source=("a",), target=("d",)), ["one"])
    assert space.classes == ("c", "a", "unknown")
    source, target = space.load("one", "train"), space.load("two", "train")
    assert labels_of(source).tolist() == [1, -1, 0, 1, 0]
    assert [np.asarray(image)[0, 0] for image, _ in source] == [50, 40, 70, 50, 70]
    assert labels_of(target).tolist() == [2, -1, 0, 0]  # what has no label may be anything
    assert [target[i][1] for i in range(len(target))] == [2, -1, 0, 0]


def test_the_images_of_a_split_are_those_of_the_data_set() -> None:
    whole, space = open_dataset("digits"), LabelSpace(open_dataset("digits"), UNIVERSAL, ["optdigits"])
    for domain, kept in (("optdigits", range(8)), ("optdigits_m", (0, 1, 2, 3, 4, 5, 8, 9))):
        examples, part = whole.load(domain, "test"), space.load(domain, "test")
        assert isinstance(examples, Arrays)
        assert isinstance(part, Arrays)
        rows = np.isin(examples.labels, kept)
        np.testing.assert_array_equal(part.images, examples.images[rows])
        expected = np.where(examples.labels[rows] > 7, 8, examples.labels[rows])
        np.testing.assert_array_equal(part.labels, expected)


def test_files_stay_files_and_other_examples_keep_their_order(tmp_path: Path) -> None:
    files = ImageFiles([tmp_path / name for name in "abc"], [0, 1, 2])
    part = chosen(files, torch.tensor([2, 0]), torch.tensor([5, 6]))
    assert isinstance(part, ImageFiles)
    assert (part.paths, part.labels) == ([tmp_path / "c", tmp_path / "a"], [5, 6])
    other = chosen(Plain().load("one", "train"), torch.tensor([0, 3]), torch.tensor([1, 1]))
    assert isinstance(other, Chosen)
    assert [np.asarray(image)[0, 0] for image, _ in (other[0], other[1])] == [80, 70]


@pytest.mark.parametrize(
    ("changes", "classes", "target", "shared"),
    [
        ([], 9, {0, 1, 2, 3, 4, 5, 8}, 6),
        (["classes={shared: 6, source: 4}"], 10, {0, 1, 2, 3, 4, 5}, None),
        (["classes={shared: 6, target: 4}"], 7, {0, 1, 2, 3, 4, 5, 6}, 6),
        (["classes={shared: 6}"], 6, {0, 1, 2, 3, 4, 5}, None),
    ],
)
def test_a_task_of_each_setting(changes: list[str], classes: int, target: set[int], shared: int | None) -> None:
    recipe = load_recipe("digits-open", ["method=source_only", *changes])
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)  # the target lacks no class but those that the recipe says
        task = build_task(recipe, CPU)
    assert (len(task.classes), task.shared) == (classes, shared)
    assert set(task.target.test.labels.tolist()) == set(task.target.train.labels.tolist()) == target
    assert set(task.sources[0].train.labels.tolist()) == set(range(classes - recipe.rejects))
    assert (task.batch(0, ("weak",)).target.labels == -1).all()
    counts = fingerprint(recipe)["domains"]["optdigits_m"]["test"]["classes"]
    assert {name for name, (count, _) in counts.items() if count} == {task.classes[label] for label in target}
    assert sum(count for count, _ in counts.values()) == len(task.target.test)


def test_a_domain_beside_the_task_is_a_target() -> None:
    recipe = load_recipe("digits-open")
    unseen = load_unseen(build_task(recipe, CPU), recipe, "synthetic", CPU)
    assert set(Counter(unseen.test.labels.tolist())) == {0, 1, 2, 3, 4, 5, 8}


def test_a_class_of_the_recipe_without_an_image_is_told(tmp_path: Path) -> None:
    for domain, names in (("one", "ab"), ("two", "a")):
        for name in names:
            (tmp_path / domain / name).mkdir(parents=True)
            for number in range(10):
                Image.new("L", (4, 4), number).save(tmp_path / domain / name / f"{number}.png")
    common = [f"dataset={tmp_path}", "task=one:two", "method=source_only"]
    with pytest.warns(DataWarning, match="target has no image of the class 'unknown'"):
        build_task(load_recipe("digits-open", [*common, "classes={shared: [a], target: [b]}"]), CPU)
    with pytest.raises(UserError, match="classes: unknown class 'c'"):
        build_task(load_recipe("digits-open", [*common, "classes={shared: [c]}"]), CPU)
    with pytest.raises(UserError, match="classes: 4 classes are asked for, and the data set has 2"):
        build_task(load_recipe("digits-open", [*common, "classes={shared: 4}"]), CPU)


def test_images_that_are_given_have_the_classes_of_their_labels() -> None:
    with pytest.raises(UserError, match="classes: images that are given have the labels"):
        task_of(load_recipe("digits-open"), ["a"], [], CPU)
