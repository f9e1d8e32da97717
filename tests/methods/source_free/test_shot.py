import copy
import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import cosine
from torch import nn

from uan_da.data.images import Images
from uan_da.methods.source_free.shot import SHOT, pseudo_labels
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import convert_norm
from uan_da.recipe.network import Input


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


def naive_pseudo_labels(features: np.ndarray, p: np.ndarray, fewest: int = 0) -> list[int]:
    n, classes = p.shape
    unit = []
    for f in features:
        with_one = [*f, 1.0]
        length = math.sqrt(sum(v * v for v in with_one))
        unit.append([v / length for v in with_one])
    labels = [int(np.argmax(row)) for row in p]
    weights = [[float(v) for v in row] for row in p]
    for _ in range(2):
        centroids = {}
        for k in sorted(k for k in set(labels) if labels.count(k) > fewest):
            total = sum(weights[i][k] for i in range(n))
            centroids[k] = [sum(weights[i][k] * unit[i][d] for i in range(n)) / total for d in range(len(unit[0]))]
        labels = [min(centroids, key=lambda k: cosine(unit[i], centroids[k])) for i in range(n)]
        weights = [[float(labels[i] == k) for k in range(classes)] for i in range(n)]
    return labels


@pytest.mark.parametrize("seed", range(8))
def test_pseudo_labels_against_loops(seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    features = torch.randn(40, 6, dtype=torch.float64, generator=random)
    p = (3 * torch.randn(40, 5, dtype=torch.float64, generator=random)).softmax(1)
    if seed % 2:
        p[:, 2] = 0  # a class that is never predicted
    assert pseudo_labels(features, p).tolist() == naive_pseudo_labels(features.numpy(), p.numpy())


@pytest.mark.parametrize("fewest", [2, 6])
def test_classes_of_few_images_are_nobodys_label_in_a_partial_set(fewest: int) -> None:
    random = torch.Generator().manual_seed(fewest)
    features = torch.randn(40, 6, dtype=torch.float64, generator=random)
    p = (3 * torch.randn(40, 8, dtype=torch.float64, generator=random)).softmax(1)
    found = pseudo_labels(features, p, fewest).tolist()
    assert found == naive_pseudo_labels(features.numpy(), p.numpy(), fewest)
    assert found != pseudo_labels(features, p).tolist()
    assert pseudo_labels(features, p, 40).tolist() == pseudo_labels(features, p).tolist()  # one class must be left


def test_without_diversity_a_target_may_be_of_one_class() -> None:
    logits = torch.tensor([[9.0, 0.0, 0.0]] * 4, dtype=torch.float64)
    labels, method = torch.zeros(4, dtype=torch.long), SHOT(network(), 4, diversity=False)
    expected = torch.distributions.Categorical(logits=logits).entropy().mean()
    torch.testing.assert_close(method.loss(logits, labels, 0.0), expected)
    assert float(SHOT(network(), 4).loss(logits, labels, 0.0)) == pytest.approx(0)  # what diversity would undo


def test_pseudo_labels_of_one_class_and_of_one_image() -> None:
    sure = torch.eye(3)[torch.ones(5, dtype=torch.long)]
    assert pseudo_labels(torch.randn(5, 4), sure).tolist() == [1] * 5
    assert pseudo_labels(torch.zeros(1, 4), sure[:1]).tolist() == [1]


def test_loss_and_gradient_equal_the_formula() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.randint(4, (6,))
    loss = SHOT(network(), 4).loss(logits, labels, 0.3)
    p = [[float(v) for v in row] for row in logits.detach().softmax(1)]
    mean = [sum(row[k] for row in p) / 6 for k in range(4)]
    expected = sum(-q * math.log(q) for row in p for q in row) / 6 + sum(q * math.log(q) for q in mean)
    expected -= 0.3 * sum(math.log(p[i][y]) for i, y in enumerate(labels.tolist())) / 6
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-10)
    assert torch.autograd.gradcheck(lambda z: SHOT(network(), 4).loss(z, labels, 0.3), logits)


def test_the_loss_is_finite_for_one_image_and_for_sure_predictions() -> None:
    for logits in (torch.randn(1, 4), torch.full((3, 4), -1e4).fill_diagonal_(1e4), torch.zeros(2, 1)):
        logits.requires_grad_()
        loss = SHOT(network(), 4).loss(logits, torch.zeros(len(logits), dtype=torch.long), 0.3)
        loss.backward()
        assert bool(loss.isfinite())
        assert logits.grad is not None
        assert bool(logits.grad.isfinite().all())


@pytest.mark.parametrize("norm", ["bn", "uan", "dsbn", "gn"])
def test_the_head_stays_and_the_rest_moves(norm: str) -> None:
    model = network(norm)
    before = copy.deepcopy(model.state_dict())
    SHOT(model, 4, epochs=2, batch=8).adapt(model, target())
    after = model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    assert not any(name.startswith("head.") for name in moved)
    assert "backbone.0.weight" in moved
    assert not any(".branches.0." in name for name in moved)
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())
    assert all(module.training for module in model.modules())


def test_the_first_step_is_the_authors_sgd() -> None:
    model, images = network(), target(8)
    expected = copy.deepcopy(model)
    method = SHOT(model, 4, epochs=1, batch=8, lr=0.02, backbone_lr=0.5)
    features, logits = images.predict(expected)
    labels = pseudo_labels(features, logits.softmax(1))
    ((indices, x),) = images.batches(8, 0)
    method.loss(expected(x).logits, labels[indices], 0.3).backward()
    method.adapt(model, images)
    rate = 0.5 * 0.02 * (1 + 10) ** -0.75
    for (name, old), new in zip(expected.named_parameters(), model.parameters(), strict=True):
        if not name.startswith("head."):
            assert old.grad is not None
            direction = old.grad + 1e-3 * old.detach()
            step = direction + 0.9 * direction  # Nesterov momentum, from rest
            torch.testing.assert_close(new.detach(), old.detach() - rate * step, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("epochs", "alike"), [(1, True), (2, False)])
def test_pseudo_labels_may_wait_an_epoch(epochs: int, alike: bool) -> None:
    """VisDA-2017's first epoch: what a trade-off of 0 does; from the second on the pseudo-labels pull."""
    states = []
    for options in ({"information_epochs": 1}, {"trade_off": 0.0}):
        model = network()
        SHOT(model, 4, epochs=epochs, batch=8, **options).adapt(model, target())  # type: ignore[arg-type]
        states.append(model.state_dict()["backbone.0.weight"])
    assert torch.equal(*states) is alike


def test_information_rises_and_the_same_seed_gives_the_same_bits() -> None:
    def information(model: Classifier) -> float:
        p = target().predict(model).logits.double().softmax(1)
        return float(torch.special.entr(p.mean(0)).sum() - torch.special.entr(p).sum(1).mean())

    models = [network() for _ in range(2)]
    start = information(models[0])
    for model in models:
        SHOT(model, 4, epochs=5, batch=8).adapt(model, target())
    assert information(models[0]) > start
    first, second = (model.state_dict() for model in models)
    assert all(torch.equal(first[name], second[name]) for name in first)
