"""Whatever a user's ``load`` returns is taken, or refused by name before the first step."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da.data.adapter import Arrays, labels_of
from uan_da.data.as_image import as_image
from uan_da.data.checked import CheckedAdapter, check_labels, checked
from uan_da.data.digest import data_digest
from uan_da.data.images import decode
from uan_da.data.task import build_task
from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.recipe.network import Input

CLASSES = ("ant", "bee")
GREY = Image.new("L", (4, 4), 51)


def held(*pairs: Any) -> Any:
    return checked(list(pairs), CLASSES, "scan, train")


@pytest.mark.parametrize(
    "label", [1, np.int64(1), np.uint8(1), np.array(1), torch.tensor(1), torch.tensor(1, dtype=torch.int32)]
)
def test_labels_that_are_indices(label: Any) -> None:
    examples = held((GREY, label))
    assert examples[0][1] == 1
    assert type(examples[0][1]) is int
    assert labels_of(examples).tolist() == [1]


@pytest.mark.parametrize(
    ("label", "message"),
    [
        (2, r"label 2 is not one of 2 classes \(0 to 1; -1 is unknown\)"),
        (-2, "label -2 is not one of 2 classes"),
        (255, "label 255 is not"),
        (None, "label None is not an index"),
        ("bee", "the label is the name 'bee'; give its index in classes, 1"),
        ("wasp", "label 'wasp' is not an index"),
        (1.0, r"label 1\.0 is not an index"),
        (True, "label True is not an index"),
        (np.array([1]), r"label array\(\[1\]\) is not an index"),
        (torch.tensor([0.0, 1.0]), "label tensor"),
    ],
)
def test_labels_that_are_none(label: Any, message: str) -> None:
    examples = held((GREY, 0), (GREY, label))
    for read in (lambda: examples[1], lambda: labels_of(examples), lambda: decode(examples, Input(size=4))):
        with pytest.raises(UserError, match=f"^scan, train: image 1: {message}"):
            read()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 5, 7], r"image 2: label 5 is not one of 2 classes .*, and 1 more image\(s\) have such labels"),
        ([0, 1], "2 labels for 4 images"),
        (np.zeros((4, 1), dtype=np.int64), r"expected one number an image, but got the shape \(4, 1\)"),
        (torch.tensor([0.0, 1.0, 0.0, 1.0]), "image 0: label .*0.0.* is not an index"),
        ([0, None, 0, 0], "image 1: label None"),
    ],
)
def test_a_list_of_labels(labels: Any, message: str) -> None:
    with pytest.raises(UserError, match=f"^photo, test: .*{message}"):
        check_labels(labels, 4, CLASSES, "photo, test")


def test_labels_of_arrays_are_checked_at_once() -> None:
    with pytest.raises(UserError, match="photo, test: image 0: label 9"):
        checked(Arrays(np.zeros((1, 2, 2), dtype=np.uint8), np.array([9])), CLASSES, "photo, test")


@pytest.mark.parametrize(
    ("image", "size"),
    [
        (np.full((3, 4, 1), 51, dtype=np.uint8), (4, 3)),
        (np.full((3, 4), 51, dtype=np.uint8), (4, 3)),
        (torch.full((1, 3, 4), 51, dtype=torch.uint8), (4, 3)),
        (np.asfortranarray(np.full((3, 4, 3), 51, dtype=np.uint8)), (4, 3)),
    ],
)
def test_images_that_are_arrays(image: Any, size: tuple[int, int]) -> None:
    found = held((image, 0))[0][0]
    assert found.size == size
    assert set(np.asarray(found).flatten()) == {51}


@pytest.mark.parametrize(
    "image",
    [
        None, "a.jpg", Path("a.jpg"), b"", np.zeros((4, 4)), np.zeros((4, 4), dtype=np.uint16), [[0]],
        np.zeros((4, 4, 2), dtype=np.uint8), np.zeros((0, 4), dtype=np.uint8), torch.zeros(1, 3, 4, 4),
        torch.full((3, 4, 4), 1.5), torch.full((3, 4, 4), torch.nan), np.zeros((1, 4, 4, 3), dtype=np.uint8),
    ],
)  # fmt: skip
def test_what_is_no_image(image: Any) -> None:
    with pytest.raises(UserError):
        as_image(image)
    with pytest.raises(UserError, match=r"^scan, train: image 0: "):
        held((image, 0))[0]


@pytest.mark.parametrize("item", [None, GREY, (GREY,), (GREY, 0, 1), {"image": GREY}])
def test_what_is_no_pair(item: Any) -> None:
    with pytest.raises(UserError, match=r"image 0: expected a pair \(image, label\)"):
        held(item)[0]


@pytest.mark.parametrize("examples", [None, 3, iter([]), (item for item in [])])
def test_what_is_no_data_set(examples: Any) -> None:
    with pytest.raises(UserError, match="returns a data set with __len__ and __getitem__, but got"):
        checked(examples, CLASSES, "x")


class Broken:
    domains, classes = ("scan", "photo"), CLASSES

    def load(self, domain: str, split: str) -> Any:
        return {"scan": 1}[domain]


def test_an_error_of_the_users_code_says_where(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = CheckedAdapter("mine:Broken", Broken())
    with pytest.raises(UserError, match=r"domain 'photo', test: load\(.*\) fails: KeyError: 'photo' \(.*test_checked"):
        adapter.load("photo", "test")

    class Odd(list[Any]):
        def __getitem__(self, index: Any) -> Any:
            raise ZeroDivisionError("oh")

    with pytest.raises(UserError, match=r"image 0 cannot be read: ZeroDivisionError: oh \(.*test_checked\.py:\d+\)"):
        checked(Odd([1]), CLASSES, "x")[0]


@pytest.mark.parametrize(
    ("domains", "classes", "message"),
    [
        ("scan", CLASSES, "domains: expected a list of names, but got 'scan'"),
        (("scan",), "ab", "classes: expected a list of names"),
        (("scan",), (0, 1), "classes: expected names, but got 0"),
        (("scan",), (), "classes: the list is empty"),
        (("scan",), ("a", "a"), "classes: 'a' appears twice"),
        (("scan",), ("caf\u00e9", "cafe\u0301"), r"two ways, which look the same: 'caf\\xe9' and 'cafe\\u0301'"),
        (5, CLASSES, "domains: expected a list"),
    ],
)
def test_names_of_an_adapter(domains: Any, classes: Any, message: str) -> None:
    adapter = type("Mine", (), {"domains": domains, "classes": classes, "load": None})()
    with pytest.raises(UserError, match=message):
        CheckedAdapter("mine", adapter)


OWN = """
import numpy as np
from PIL import Image

class Own:
    domains, classes, bad = ("scan", "photo"), ("ant", "bee"), 7

    def load(self, domain, split):
        return [(np.zeros((4, 4, 1), dtype=np.uint8), self.bad if (domain, split, i) == ("photo", "test", 5) else i % 2)
                for i in range(6)]

class Good(Own):
    bad = 1
"""


def test_a_task_is_refused_before_its_first_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "checked_own.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    changes = ["task=scan:photo", "train.batch.source=4"]
    task = build_task(load_recipe("digits", ["dataset=checked_own:Good", *changes]), torch.device("cpu"))
    assert task.batch(0, ["weak"]).source.weak.shape == (4, 3, 28, 28)
    assert data_digest("checked_own:Good", "scan")
    with pytest.raises(UserError, match="dataset 'checked_own:Own', domain 'photo', test: image 5: label 7"):
        build_task(load_recipe("digits", ["dataset=checked_own:Own", *changes]), torch.device("cpu"))


def test_a_loop_over_checked_examples_ends_with_them() -> None:
    images = [(Image.new("RGB", (2, 2)), label) for label in (0, 1, 0)]
    assert [label for _, label in checked(images, ("a", "b"), "here")] == [0, 1, 0]
