"""PLUE: its terms against plain loops, its memories, and its first step."""

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.data.images import Images
from uan_da.errors import UserError
from uan_da.methods.source_free.neighbors import Bank
from uan_da.methods.source_free.plue import (
    PLUE,
    Keys,
    another_class,
    certainty,
    contrastive_loss,
    negative_loss,
    refine,
)
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier, Output
from uan_da.recipe.network import Input

CPU = torch.device("cpu")


def random(*size: int, seed: int = 0) -> Tensor:
    return torch.randn(*size, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def softmax(row: list[float]) -> list[float]:
    return [math.exp(z) / sum(map(math.exp, row)) for z in row]


def entropy(p: list[float]) -> float:
    return -sum(x * math.log(x) for x in p)


def dot(a: list[float], b: list[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def test_the_loss_and_its_gradient_equal_the_formula(monkeypatch: pytest.MonkeyPatch) -> None:
    features, logits = (random(4, n, seed=n).requires_grad_() for n in (3, 5))
    weak, strong = Output(random(4, 3, seed=3), random(4, 5, seed=4)), Output(features, logits)
    key, others, refined = F.normalize(random(4, 3, seed=7)), F.normalize(random(6, 3, seed=8)), random(4, 5).softmax(1)
    negative, wrong = random(4, 6, seed=9) > 0, [(int(row.argmax()) + 2) % 5 for row in refined]
    monkeypatch.setattr(torch, "randint", lambda low, high, size: torch.full(size, 2))
    method = PLUE(Classifier(nn.Flatten(), 3, 5), 5, temperature=0.2)

    def total(*given: Tensor) -> Tensor:
        return method.loss(weak, Output(*given), key, refined, others, negative)

    expected = 0.0
    for i in range(4):
        p, q = softmax(strong.logits[i].tolist()), F.normalize(features[i], dim=0).tolist()
        expected -= math.exp(-entropy(refined[i].tolist()) / math.log(5)) * math.log(1 - p[wrong[i]]) / 4
        own = math.exp(dot(q, key[i].tolist()) / 0.2)
        rest = sum(math.exp(dot(q, others[j].tolist()) / 0.2) for j in range(6) if negative[i, j])
        expected -= math.log(own / (own + rest)) / 4
    for side in (weak.logits, strong.logits):
        rows = [softmax(row) for row in side.tolist()]
        expected -= entropy([sum(column) / 4 for column in zip(*rows, strict=True)])
    assert float(total(features, logits).detach()) == pytest.approx(expected, rel=1e-12)
    assert torch.autograd.gradcheck(total, (features, logits))


def test_what_is_certainly_not_the_class_has_a_finite_loss_and_gradient() -> None:
    logits = torch.tensor([[200.0, 0.0, 0.0], [-200.0, 0.0, 0.0]], requires_grad=True)
    loss = negative_loss(logits, torch.tensor([0, 0]))
    torch.testing.assert_close(loss.detach(), torch.tensor([200 - math.log(2), 0.0]))
    (gradient,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(gradient, torch.tensor([[1.0, -0.5, -0.5], [0.0, 0.0, 0.0]]))


def test_neighbours_that_agree_count_one_and_even_ones_least() -> None:
    sure, even = torch.tensor([[1.0, 0.0, 0.0, 0.0]]), torch.full((1, 4), 0.25)
    torch.testing.assert_close(certainty(torch.cat([sure, even])), torch.tensor([1.0, 1 / math.e]))


def test_without_a_negative_there_is_no_contrast() -> None:
    unit, none = F.normalize(random(3, 2)), torch.zeros(3, 5, dtype=torch.bool)
    assert float(contrastive_loss(unit, unit, F.normalize(random(5, 2)), none, 0.07)) == 0


@pytest.mark.parametrize("count", [1, 3, 50])
def test_a_pseudo_label_is_the_mean_of_the_nearest_itself_included(count: int) -> None:
    features, p = random(7, 3), random(7, 4, seed=1).softmax(1)
    found = refine(features[[2, 5]], Bank(features, p), count)
    for row, i in zip(found, (2, 5), strict=True):
        near = sorted(range(7), key=lambda j: -float(F.cosine_similarity(features[i], features[j], dim=0)))[:count]
        assert near[0] == i
        torch.testing.assert_close(row, sum(p[j] for j in near) / len(near))


def test_another_class_is_each_of_the_others() -> None:
    labels = torch.arange(4).repeat(200)
    drawn = another_class(labels, 4)
    pairs = set(zip(labels.tolist(), drawn.tolist(), strict=True))
    assert pairs == {(a, b) for a in range(4) for b in range(4) if a != b}


def test_the_newest_keys_are_kept_and_the_labels_of_the_last_epochs() -> None:
    keys = Keys(5, 2, 10, history=2, device=CPU)
    keys.labels[:] = -torch.arange(10).view(5, 2)  # none equals another
    sets = [([0, 1, 2], [3, 4, 3]), ([3, 4], [4, 3])]
    for epoch in range(3):
        for indices, labels in sets:
            unit = torch.full((len(indices), 2), float(epoch))
            keys.put(epoch, torch.tensor(indices), unit, torch.tensor(labels) + (indices[0] + 1) * (epoch % 2))
    assert keys.features[:, 0].tolist() == [2.0] * 5
    assert keys.owners.tolist() == [0, 1, 2, 3, 4]
    assert keys.labels.tolist() == [[3, 4], [4, 5], [3, 4], [4, 8], [3, 7]]  # of epochs 2 and 1
    negatives = keys.negatives(torch.tensor([0, 3]))
    assert negatives.tolist() == [[False, True, False, True, False], [True, False, True, False, True]]


def test_the_first_step_is_plain_sgd_of_all_weights() -> None:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()]
    model = Classifier(nn.Sequential(*layers), 8 * 4, 4)
    pixels = torch.randint(256, (8, 3, 4, 4), dtype=torch.uint8)
    images = Target(Images(pixels, torch.full((8,), -1)), Input(size=4), 1, [], 0, CPU)
    expected, method = copy.deepcopy(model), PLUE(model, 4, epochs=1, batch=8, lr=0.02)
    torch.manual_seed(1)
    keys = Keys(8, 32, 4, 5, images.device)
    features, logits = images.predict(expected)
    ((indices, x, (one, other)),) = images.views(8, 0)
    weak, strong, key = expected(x), expected(one), copy.deepcopy(expected)(other).features.detach()
    refined = refine(weak.features.detach(), Bank(features, logits.softmax(1)), 10)
    loss = method.loss(weak, strong, F.normalize(key), refined, keys.features, keys.negatives(indices))
    loss.backward()  # type: ignore[no-untyped-call]
    torch.manual_seed(1)
    method.adapt(model, images)
    for old, new in zip(expected.parameters(), model.parameters(), strict=True):
        assert old.grad is not None
        step = old.grad + 5e-4 * old.detach()
        torch.testing.assert_close(new.detach(), old.detach() - 0.02 * step, rtol=1e-5, atol=1e-6)
    assert all(bool((a == b).all()) for a, b in zip(expected.buffers(), model.buffers(), strict=True))


def test_one_class_has_no_other() -> None:
    model = Classifier(nn.Flatten(), 12, 1)
    with pytest.raises(UserError, match="one class alone"):
        PLUE(model, 1).adapt(model, Target(Images(torch.zeros(4, 3, 2, 2), torch.zeros(4)), Input(), 0, [], 0, CPU))
