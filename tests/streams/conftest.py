"""A small network with BatchNorms that have seen data, and images for it."""

import copy
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from uan_da.data.augment import Crop
from uan_da.data.images import Images
from uan_da.models.classifier import Classifier
from uan_da.recipe.network import Input
from uan_da.streams.evaluator import StreamDomain
from uan_da.streams.method import Surroundings

CLASSES, SIDE = 3, 8


@pytest.fixture
def network() -> Classifier:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        layers: list[nn.Module] = []
        for before, after in ((3, 4), (4, 6)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.BatchNorm2d(after), nn.ReLU()]
        model = Classifier(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(2), nn.Flatten()), 24, CLASSES)
        model.train()
        for _ in range(5):
            model(torch.randn(32, 3, SIDE, SIDE))
    return model.eval()


@pytest.fixture
def surroundings() -> Surroundings:
    return Surroundings(Input(size=SIDE), 1, 6, [Crop(padding=1)], [Crop(padding=2)], source=lambda n: pixels(n, 9))


def pixels(count: int, seed: int, low: int = 0, high: int = 256) -> Tensor:
    random = np.random.default_rng(seed)
    return torch.from_numpy(random.integers(low, high, (count, 3, SIDE, SIDE), dtype=np.uint8))


@pytest.fixture
def images() -> Callable[..., Tensor]:
    return pixels


@pytest.fixture
def domains() -> list[StreamDomain]:
    """Two domains of 20 and 16 images; the second has two conditions."""
    found = []
    for number, (count, names) in enumerate(((20, ("fog",)), (16, ("dark", "bright")))):
        labels = np.arange(count) % CLASSES
        held = Images(pixels(count, number), torch.full((count,), -1))
        found.append(StreamDomain(held, labels, np.arange(count) % len(names), names))
    return found


def entropies(logits: Tensor) -> Tensor:
    p = logits.softmax(1)
    return -(p * p.log()).sum(1)


@pytest.fixture
def h() -> Callable[[Tensor], Tensor]:
    """The entropy of each image's prediction, of logits."""
    return entropies


def twin_in_batch(network: Classifier) -> Classifier:
    twin = copy.deepcopy(network).requires_grad_(False)
    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train().requires_grad_(True)
    return twin


@pytest.fixture
def in_batch() -> Callable[[Classifier], Classifier]:
    """A twin whose norms normalise by the batch, and whose γ and β are free."""
    return twin_in_batch
