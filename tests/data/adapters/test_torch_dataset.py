import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.datasets import ImageFolder

from uan_da.data.adapters.torch_dataset import Converted, TorchDataset, as_image
from uan_da.errors import UserError


def test_a_data_set_of_torchvision(plates: Path) -> None:
    adapter = TorchDataset(
        plates, ("ant", "bee"), dataset="torchvision.datasets:ImageFolder", arguments={"root": "{folder}/{domain}"}
    )
    found, reference = adapter.load("photo", "train"), ImageFolder(str(plates / "photo"))
    assert len(found) == len(reference) == 40
    assert found.labels == reference.targets
    assert np.array_equal(np.asarray(found[30][0]), np.asarray(reference[30][0]))


def test_arguments_of_a_split(tmp_path: Path) -> None:
    adapter = TorchDataset(
        tmp_path, (), dataset="torchvision.datasets:FakeData", arguments={"num_classes": 3}, test={"size": 7}
    )
    assert len(adapter.load("", "test")) == 7
    assert len(adapter.load("", "train")) == 1000


@pytest.mark.parametrize(
    "image",
    [
        Image.new("L", (4, 3), 51),
        np.full((3, 4), 51, dtype=np.uint8),
        np.full((3, 4, 3), 51, dtype=np.uint8),
        torch.full((1, 3, 4), 51, dtype=torch.uint8),
        torch.full((3, 3, 4), 0.2),
    ],
)
def test_images_of_any_kind(image) -> None:
    converted = as_image(image)
    assert converted.size == (4, 3)
    assert set(np.asarray(converted).flatten()) == {51}


@pytest.mark.parametrize("image", [torch.full((3, 4, 4), 1.5), np.zeros((4, 4)), "image.png"])
def test_what_is_no_image(image) -> None:
    with pytest.raises(UserError):
        as_image(image)


def test_labels_come_from_the_items_where_nothing_else_has_them() -> None:
    converted = Converted([(Image.new("L", (2, 2)), 4)])
    assert not hasattr(converted, "labels")
    assert converted[0][1] == 4


def test_a_data_set_of_the_users_own(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "my_rows.py").write_text("class Rows(list):\n    def __init__(self):\n        self.append((None, 3))\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in sys.path if entry])
    assert len(TorchDataset(tmp_path, (), dataset="my_rows:Rows").load("", "train")) == 1


@pytest.mark.parametrize("name", ["torchvision.datasets:Nothing", "no_such_module:X", "torchvision.datasets:MNIST"])
def test_what_cannot_be_built(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=name.split(":")[1]):
        TorchDataset(tmp_path, (), dataset=name, arguments={"root": "{folder}"}).load("a", "train")


def test_a_module_without_a_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected module:Class"):
        TorchDataset(tmp_path, (), dataset="torchvision.datasets").load("", "train")
