"""``cifar*-norms``, ``cifar100-densenet`` and the two ``mnist-svhn``: what their papers' code does, by hand."""

import math
import re
import shlex
from pathlib import Path

import pytest
import torch
from torch import nn

from uan_da.folders import shipped
from uan_da.models.classifier import build_model
from uan_da.norms import UAN2d
from uan_da.recipe import load_recipe
from uan_da.training.training import Training

CPU = torch.device("cpu")
CIFAR = ["cifar10-norms", "cifar100-norms"]


def commands(name: str) -> list[list[str]]:
    """What the head of a recipe says to run, in words; options of ``compare`` that are no ``key=value`` left out."""
    lines = shipped("recipes")[name].read_text().splitlines()
    said = [line.removeprefix("# uan-da ").partition("   ")[0] for line in lines if line.startswith("# uan-da ")]
    return [[word for word in shlex.split(line)[2:] if re.match(r"[\w.]+=", word)] for line in said]


@pytest.mark.parametrize("name", CIFAR)
@pytest.mark.parametrize("command", [0, 1])
def test_adamw_takes_a_ten_thousandth_of_a_weight_at_both_rates(name: str, command: int) -> None:
    """TensorFlow Addons' decay: w ← w − 1e-4·w, whatever the rate. The gradient is zero here, so nothing else moves."""
    recipe = load_recipe(name, ["input.size=32", "backbone=lenet", *commands(name)[command]])
    assert recipe.train.optimizer.options["lr"] == (1e-3, 5e-3)[command]
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()
    optimizer = recipe.train.optimizer([model])
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(model.weight.detach(), (1 - 1e-4) * before, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", CIFAR)
def test_cifar_is_flipped_turned_zoomed_standardised_and_held_out(name: str, data_root: Path) -> None:
    recipe = load_recipe(name, ["train.batch.source=10", "selection.holdout=0.1"])
    blocks = {block.name: block.options for block in recipe.augment.weak}
    assert blocks["affine"]["degrees"] == pytest.approx(0.02 * 360)
    assert blocks["affine"]["scale"] == pytest.approx((1 / 1.2, 1 / 0.8), abs=1e-3)
    assert set(blocks) == {"flip", "affine"}
    assert load_recipe(name).selection.holdout == 0.1
    mean = (
        (125.3, 123.0, 113.9) if name == "cifar10-norms" else (129.3, 124.1, 112.4)
    )  # of the bytes of the training set
    std = (63.0, 62.1, 66.7) if name == "cifar10-norms" else (68.2, 65.4, 70.4)
    assert [255 * x for x in recipe.input.mean] == pytest.approx(mean, abs=0.1)  # type: ignore[union-attr]
    assert [255 * x for x in recipe.input.std] == pytest.approx(std, abs=0.2)  # type: ignore[union-attr]
    assert load_recipe(name).train.batch.source == 256


def test_densenet_has_one_uan_on_its_input() -> None:
    model = build_model(load_recipe("cifar100-densenet"), 100)
    found = {name: layer.num_clusters for name, layer in model.named_modules() if isinstance(layer, UAN2d)}
    assert found == {"input_norm": 10}
    batch_norms = [layer for layer in model.backbone.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(batch_norms) == 39  # one in front of each convolution but the first, and one behind the last


def test_densenet_trains_at_the_notebooks_rates(data_root: Path) -> None:
    """Epochs from 0: 0.1 to the 100th, 0.01 to the 150th, then 0.001; 625 steps of 64 in 40,000 images."""
    recipe = load_recipe("cifar100-densenet")
    assert (recipe.train.epochs, recipe.train.batch.source, recipe.selection.holdout) == (200, 64, 0.2)
    assert recipe.input.size == 32
    for epoch, rate in ((0, 0.1), (99, 0.1), (100, 0.1), (101, 0.01), (149, 0.01), (151, 0.001), (199, 0.001)):
        found = 0.1 * recipe.train.schedule(epoch * 625, 200 * 625)
        assert found == pytest.approx(rate), epoch


def test_mnist_svhn_is_adamatchs_code(data_root: Path) -> None:
    recipe = load_recipe("mnist-svhn")
    options = recipe.method.options
    assert (options["threshold"], options["pseudo_label"], options["source_loss"]) == (0.9, "hard", "mean")
    assert options["alignment"] == "running"
    assert recipe.train.ema == 0.999
    batch = recipe.train.batch
    assert (batch.source, batch.target) == (64, 3 * 64)
    assert recipe.train.steps * 64 == 8 << 20  # type: ignore[operator]
    optimizer = recipe.train.optimizer([nn.Linear(2, 2)])
    (group,) = optimizer.param_groups
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["nesterov"], group["weight_decay"]) == (0.03, 0.9, False, 1e-3)
    for progress in (0.0, 0.25, 0.5, 1.0):
        expected = math.cos(math.acos(0.25) * progress)
        assert recipe.train.schedule(int(progress * 131072), 131072) == pytest.approx(expected)


def test_mnist_svhn_uan_is_the_notebook(data_root: Path) -> None:
    recipe = load_recipe("mnist-svhn-uan")
    assert [block.name for block in recipe.augment.weak] == ["flip"]
    assert [block.name for block in recipe.augment.strong] == ["rand_augment"]
    assert recipe.train.optimizer.options["weight_decay"] == 0.0
    assert (recipe.method.name, recipe.train.epochs) == ("adamatch_keras", 100)
    per_epoch = 60000 // 64
    for epoch in (0, 3, 7, 10, 40, 99):  # Keras's CosineDecay over 10 epochs to a quarter, then constant
        done = min(1.0, epoch / 10)
        expected = 0.75 * (0.5 + 0.5 * math.cos(math.pi * done)) + 0.25
        assert recipe.train.schedule(epoch * per_epoch, 100 * per_epoch) == pytest.approx(expected)
    assert recipe.method.options["warm_up"] * 100 == pytest.approx(10 / 2)  # μ = 1 from half of its 10 epochs on


def test_mnist_svhn_uan_sees_bytes_and_batchnorm_unit_intervals(data_root: Path) -> None:
    seen = []
    for command in commands("mnist-svhn-uan")[:2]:
        small = ["train.batch.source=4", "train.batch.target=6", "augment.strong=[]", "backbone=lenet"]
        if "norm=bn" in command:
            small.append("norm.where=all")
        training = Training.build(load_recipe("mnist-svhn-uan", [*command, *small]), CPU)
        batch = training.task.batch(0, ("weak",), with_target=True)
        seen.append(float(torch.cat([batch.source.weak.flatten(), batch.target.weak.flatten()]).max()))
    assert seen[0] == pytest.approx(255, abs=3)
    assert seen[1] == pytest.approx(1, abs=0.02)
