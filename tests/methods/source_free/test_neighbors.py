"""The bank, and what NRC, AaD and PLUE share: what moves, by which steps, and that it learns."""

import copy
from dataclasses import replace

import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.nn import functional as F

from uan_da.data.augment import Crop
from uan_da.data.images import Images
from uan_da.errors import UserError
from uan_da.methods.source_free.aad import AaD
from uan_da.methods.source_free.neighbors import Bank, NeighborMethod, agreement
from uan_da.methods.source_free.nrc import NRC
from uan_da.methods.source_free.plue import PLUE
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import convert_norm
from uan_da.recipe.network import Input

METHODS = [AaD, NRC]
ALL = [*METHODS, PLUE]
Each = type[AaD] | type[NRC] | type[PLUE]


def network(norm: str = "bn") -> Classifier:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
    model = Classifier(nn.Sequential(*layers), 8 * 36, 4)
    convert_norm(model, norm)
    return model


def target(count: int = 24) -> Target:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = Images(pixels, torch.full((count,), -1))
    return Target(images, Input(size=8), 1, [], 0, torch.device("cpu"))


def test_neighbors_against_loops() -> None:
    torch.manual_seed(0)
    features = torch.randn(9, 3, dtype=torch.float64)
    bank = Bank(features, torch.zeros(9, 2))
    near = bank.neighbors(torch.tensor([4, 0]), 3)
    for row, i in zip(near.tolist(), (4, 0), strict=True):
        cosine = {j: float(F.cosine_similarity(features[i], features[j], dim=0)) for j in range(9) if j != i}
        assert row == sorted(cosine, key=lambda j: -cosine[j])[:3]


@pytest.mark.parametrize(("images", "count", "found"), [(5, 9, 4), (2, 1, 1), (1, 5, 0)])
def test_of_few_images_all_others_are_neighbors(images: int, count: int, found: int) -> None:
    near = Bank(torch.randn(images, 3), torch.zeros(images, 2)).neighbors(torch.tensor([0]), count)
    assert near.shape == (1, found)
    assert 0 not in near


def test_an_image_is_not_its_own_neighbor_where_all_features_are_equal() -> None:
    for features in (torch.ones(6, 3), torch.zeros(6, 3)):
        near = Bank(features, torch.zeros(6, 2)).neighbors(torch.arange(6), 5)
        assert [sorted(row) for row in near.tolist()] == [[j for j in range(6) if j != i] for i in range(6)]


def test_a_batch_replaces_its_own_rows_and_leaves_no_graph() -> None:
    features, p = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    bank = Bank(features, p)
    bank.put(torch.tensor([1]), torch.tensor([[6.0, 8.0]], requires_grad=True), torch.tensor([[0.2, 0.8]]))
    torch.testing.assert_close(bank.features, torch.tensor([[0.6, 0.8], [0.6, 0.8]]))
    torch.testing.assert_close(bank.probabilities, torch.tensor([[0.5, 0.5], [0.2, 0.8]]))
    assert not bank.features.requires_grad
    assert p[1].tolist() == [1.0, 0.0]


def test_agreement_of_no_neighbors_is_zero() -> None:
    assert float(agreement(torch.rand(3, 4), torch.rand(3, 0, 4))) == 0


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("norm", ["bn", "uan", "dsbn", "gn"])
def test_all_weights_move_and_nothing_of_other_domains(method: Each, norm: str) -> None:
    model = network(norm)
    before = copy.deepcopy(model.state_dict())
    method(model, 4, epochs=2, batch=8).adapt(model, target())
    after = model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert {"backbone.0.weight", "head.weight", "head.bias"} <= moved
    assert not any(".branches.0." in name for name in moved)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


@pytest.mark.parametrize("method", METHODS)
def test_the_first_step_is_the_authors_sgd(method: type[NeighborMethod]) -> None:
    """From a bank of plain predictions, into which the batch's own have been put."""
    model, images = network(), target(8)
    expected = copy.deepcopy(model)
    adapting = method(model, 4, epochs=1, batch=8, lr=0.02, backbone_lr=0.5)
    features, logits = images.predict(expected)
    bank = Bank(features, logits.softmax(1))
    ((indices, x),) = images.batches(8, 0)
    output = expected(x)
    bank.put(indices, output.features, output.logits.softmax(1))
    adapting.loss(output.logits, indices, bank, 0.0).backward()
    adapting.adapt(model, images)
    for (name, old), new in zip(expected.named_parameters(), model.parameters(), strict=True):
        rate = (1.0 if name.startswith("head.") else 0.5) * 0.02 * (1 + 10) ** -0.75
        assert old.grad is not None
        direction = old.grad + 1e-3 * old.detach()
        step = direction + 0.9 * direction  # Nesterov momentum, from rest
        torch.testing.assert_close(new.detach(), old.detach() - rate * step, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("method", ALL)
def test_the_same_seed_gives_the_same_bits(method: Each) -> None:
    states = []
    for _ in range(2):
        model = network()
        method(model, 4, epochs=2, batch=16).adapt(model, target())
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("method", ALL)
@pytest.mark.parametrize("count", [2, 3, 9])
def test_fewer_images_than_neighbors_and_a_last_batch_of_one(method: Each, count: int) -> None:
    model = network()
    method(model, 4, epochs=1, batch=8).adapt(model, target(count))
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


@pytest.mark.parametrize("method", ALL)
def test_one_image_is_refused(method: Each) -> None:
    model = network()
    with pytest.raises(UserError, match="one image is too few"):
        method(model, 4).adapt(model, target(1))


@pytest.mark.parametrize("method", ALL)
def test_equal_images_leave_no_nan(method: Each) -> None:
    pixels, model = torch.zeros(12, 3, 8, 8, dtype=torch.uint8), network()
    equal = Target(Images(pixels, torch.full((12,), -1)), Input(size=8), 1, [], 0, torch.device("cpu"))
    method(model, 4, epochs=2, batch=4).adapt(model, equal)
    assert all(bool(value.isfinite().all()) for value in model.state_dict().values())


@pytest.fixture(scope="module")
def digits() -> tuple[Classifier, Target, torch.Tensor]:
    """A network that knows 900 digits, and 897 others moved aside by a pixel: with their labels, for the test alone."""
    known = load_digits()
    pixels = torch.from_numpy(known.images * (255 / 16)).to(torch.uint8).unsqueeze(1)
    labels = torch.from_numpy(known.target)
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 16, 3), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.BatchNorm2d(32), nn.ReLU()]
    model = Classifier(nn.Sequential(*layers, nn.Flatten(), nn.Linear(512, 32), nn.BatchNorm1d(32)), 32, 10)
    seen, device = Input(size=8, channels=1), torch.device("cpu")
    source = Target(Images(pixels[:900], labels[:900]), seen, 0, [], 0, device)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for epoch in range(3):
        for indices, x in source.batches(64, epoch):
            optimizer.zero_grad()
            F.cross_entropy(model(x).logits, labels[indices]).backward()
            optimizer.step()
    moved = Images(pixels[900:].roll(1, 3), torch.full((897,), -1))
    return model, Target(moved, seen, 1, [], 0, device), labels[900:]


@pytest.mark.parametrize("method", ALL)
def test_it_learns_digits_without_labels(digits: tuple[Classifier, Target, torch.Tensor], method: Each) -> None:
    source, images, labels = digits
    model = copy.deepcopy(source)
    if method is PLUE:
        views = [Crop(padding=1)]  # without which there is nothing to contrast
        PLUE(model, 10, epochs=8, lr=3e-2).adapt(model, replace(images, augmentations=views))
    else:
        method(model, 10, epochs=5, lr=1e-2, backbone_lr=1.0).adapt(model, images)
    before, after = ((images.predict(each).logits.argmax(1) == labels).float().mean() for each in (source, model))
    assert float(after) > float(before) + 0.1
