"""ATDOC: its pseudo-labels and memories in plain loops."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from uan_da.data.domain_batch import DomainBatch
from uan_da.methods.method import Progress
from uan_da.methods.self_training.atdoc import ATDOC
from uan_da.models.classifier import Classifier

INDEX = torch.tensor([6, 0, 3, 1, 4, 8, 2, 5, 7])
QUARTER = Progress(1, 4)


@pytest.fixture
def batch(batch: DomainBatch) -> DomainBatch:
    return replace(batch, target=replace(batch.target, index=INDEX[: len(batch.target.labels)]))


def made(model: Classifier, images: int = 12, **options: object) -> ATDOC:
    method = ATDOC(model, model.num_classes, trade_off=0.8, **options)  # type: ignore[arg-type]
    method.prepare(model, images)
    return method


def term(method: ATDOC, model: Classifier, batch: DomainBatch) -> Tensor:
    source, target = model(batch.source.weak), model(batch.target.weak)
    return method.terms(model, batch, source, target, QUARTER).terms["pseudo_label"]


def test_neighbours_vote_by_what_the_memory_says_of_them(model: Classifier, batch: DomainBatch) -> None:
    method = made(model, neighbors=2)
    method.probabilities.copy_(torch.rand(12, model.num_classes, generator=torch.Generator().manual_seed(3)))
    features, logits = (x.detach() for x in model(batch.target.weak))
    total, weights = 0.0, 0.0
    for i, own in enumerate(batch.target.index.tolist()):
        products = {j: float(features[i] @ method.features[j]) for j in range(12) if j != own}
        near = sorted(products, key=products.__getitem__)[-2:]
        votes = [sum(float(method.probabilities[j, k]) for j in near) / 2 for k in range(model.num_classes)]
        label = max(range(len(votes)), key=votes.__getitem__)
        total -= votes[label] * float(logits[i].log_softmax(0)[label])
        weights += votes[label]
    assert float(term(method, model, batch).detach()) == pytest.approx(0.8 * 0.25 * total / weights)


def test_the_memory_takes_over_the_batch_as_the_moved_network_sees_it(model: Classifier, batch: DomainBatch) -> None:
    method = made(model)
    before = method.features.clone()
    assert torch.allclose(before.norm(dim=1), torch.ones_like(before[:, 0]))
    assert method.probabilities.unique().tolist() == [pytest.approx(1 / model.num_classes)]
    term(method, model, batch)
    with torch.no_grad():
        model.head.bias.add_(1.0 * torch.arange(model.num_classes))
    model.train()
    method.after_step(model)
    assert model.training
    features, logits = model.eval()(batch.target.weak)
    index, square = batch.target.index, logits.softmax(1) ** 2
    torch.testing.assert_close(method.features[index], F.normalize(features.detach()))
    torch.testing.assert_close(method.probabilities[index], (square / square.sum(0)).detach())
    others = [j for j in range(12) if j not in index.tolist()]
    assert torch.equal(method.features[others], before[others])
    assert not method._seen


def test_centroids_follow_the_predicted_classes(model: Classifier, batch: DomainBatch) -> None:
    method = made(model, classifier="centroids")
    before = method.features.clone()
    features, logits = (x.detach() for x in model.eval()(batch.target.weak))
    nearest = F.cosine_similarity(features[:, None], before[None], dim=2).argmax(1)
    expected = 0.8 * 0.25 * F.cross_entropy(logits, nearest)
    torch.testing.assert_close(term(method, model, batch).detach(), expected)
    term(method, model, batch)  # a step that reads its batch twice counts it once
    method.after_step(model)
    for k in range(model.num_classes):
        own = features[logits.argmax(1) == k]
        mean = own.mean(0) if len(own) else torch.zeros_like(before[k])
        torch.testing.assert_close(method.features[k], 0.9 * before[k] + 0.1 * mean)
    assert "probabilities" not in dict(method.named_buffers())


def test_the_first_memory_is_a_function_of_the_seed(model: Classifier) -> None:
    torch.manual_seed(5)
    first = made(model)
    torch.manual_seed(5)
    assert torch.equal(first.features, made(model).features)
    assert not torch.equal(first.features, made(model).features)


def test_a_target_of_one_image_is_its_own_neighbour(model: Classifier, batch: DomainBatch) -> None:
    method = made(model, images=1)
    one = replace(batch, target=replace(batch.target[:1], index=torch.zeros(1, dtype=torch.long)))
    assert term(method, model, one).isfinite()
