"""M3SDA: its terms in plain loops, what each phase moves, and how the classifiers are weighted."""

import math
from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from uan_da.data.domain_batch import DomainBatch, DomainImages
from uan_da.methods.method import Phase, Progress
from uan_da.methods.multi_source.m3sda import M3SDA, moment_distance
from uan_da.models.classifier import Classifier
from uan_da.models.head import SourceHeads

HALF = Progress(1, 2)
SIZES = [3, 4, 2]


@pytest.fixture
def several(model: Classifier) -> Classifier:
    """The tiny classifier with a head for each of three sources."""
    model.head = SourceHeads([model.new_head() for _ in SIZES]).double()
    return model


@pytest.fixture
def method(several: Classifier) -> M3SDA:
    torch.manual_seed(2)
    return M3SDA(several, 3, trade_off=0.7, num_times=2).double()


@pytest.fixture
def batch() -> DomainBatch:
    torch.manual_seed(1)
    domain = torch.tensor([number for number, size in enumerate(SIZES) for _ in range(size)])
    source = DomainImages({"weak": torch.randn(9, 3, 2, 2).double()}, torch.randint(3, (9,)), domain, torch.arange(9))
    target = DomainImages({"weak": torch.randn(5, 3, 2, 2).double()}, torch.full((5,), -1), torch.full((5,), 3))
    return DomainBatch(source, target)


def parameters(phase: Phase) -> list[nn.Parameter]:
    return [parameter for module in phase.modules for parameter in module.parameters()]


def rows(batch: DomainBatch, source: int) -> list[int]:
    return [row for row, domain in enumerate(batch.source.domain.tolist()) if domain == source]


def naive_distance(sources: list[list[list[float]]], target: list[list[float]]) -> float:
    """The paper's sums, feature by feature."""

    def moment(features: list[list[float]], power: int) -> list[float]:
        return [sum(value**power for value in column) / len(features) for column in zip(*features, strict=True)]

    total = 0.0
    for power in (1, 2):
        pairs = list(combinations(range(len(sources)), 2))
        for one, other, weight in [
            *((each, target, 1 / len(sources)) for each in sources),
            *((sources[i], sources[j], 1 / len(pairs)) for i, j in pairs),
        ]:
            total += weight * math.dist(moment(one, power), moment(other, power))
    return total


@pytest.mark.parametrize("sizes", [[4, 5], [1, 3, 2], [2, 3, 4, 5]])
def test_moments_equal_the_papers_sums(sizes: list[int]) -> None:
    torch.manual_seed(0)
    sources, target = [torch.randn(n, 4).double() for n in sizes], torch.randn(6, 4).double()
    expected = naive_distance([each.tolist() for each in sources], target.tolist())
    assert float(moment_distance(sources, target)) == pytest.approx(expected, rel=1e-12)


def test_equal_moments_have_a_finite_gradient() -> None:
    x = torch.randn(3, 4, requires_grad=True)
    distance = moment_distance([x, x], x)
    (gradient,) = torch.autograd.grad(distance, x)
    assert float(distance.detach()) == 0
    assert gradient.isfinite().all()


def test_each_phase_has_the_loss_of_the_formula(method: M3SDA, several: Classifier, batch: DomainBatch) -> None:
    on_source, on_target = several(batch.source.weak).features, several(batch.target.weak).features
    classify = disagree = 0.0
    assert isinstance(several.head, SourceHeads)
    for source, pair in enumerate(zip(several.head.heads, method.second_heads, strict=True)):
        own = rows(batch, source)
        for head in pair:
            log_p = head(on_source[own]).log_softmax(1).tolist()
            classify -= sum(row[y] for row, y in zip(log_p, batch.source.labels[own], strict=True)) / len(own) / 3
        p, q = (head(on_target).softmax(1).tolist() for head in pair)
        disagree += sum(abs(a - b) for one, other in zip(p, q, strict=True) for a, b in zip(one, other, strict=True))
    disagree /= 5 * 3 * 3
    moments = naive_distance([on_source[rows(batch, k)].tolist() for k in range(3)], on_target.tolist())
    expected = [
        {"source": classify, "moments": 0.7 * moments},
        {"source": classify, "discrepancy": -disagree},
        {"discrepancy": disagree},
    ]
    for phase, terms in zip(method.phases(several), expected, strict=True):
        found = phase.loss(several, batch, HALF).terms
        assert {name: float(value.detach()) for name, value in found.items()} == pytest.approx(terms, rel=1e-12)
    pretrained = method.pretrain_loss(several, batch, HALF).total
    assert float(pretrained.detach()) == pytest.approx(classify, rel=1e-12)


def test_phases_move_everything_then_the_classifiers_then_the_features(method: M3SDA, several: Classifier) -> None:
    everything, heads, features = method.phases(several)
    own = set(method.second_heads.parameters())
    assert set(parameters(everything)) == {*several.parameters(), *own}
    assert set(parameters(heads)) == {*several.head.parameters(), *own}
    assert set(parameters(features)) == set(several.backbone.parameters())
    assert [everything.times, heads.times, features.times] == [1, 1, 2]


def test_a_classifier_counts_by_its_accuracy_on_the_other_sources(
    method: M3SDA, several: Classifier, batch: DomainBatch
) -> None:
    assert isinstance(several.head, SourceHeads)
    right = [head(several(batch.source.weak).features).argmax(1) == batch.source.labels for head in several.head.heads]
    shares = []
    for source in range(3):
        others = [row for row in range(9) if row not in rows(batch, source)]
        shares.append(sum(bool(right[source][row]) for row in others) / len(others))
    for _ in range(400):
        method.phases(several)[0].loss(several, batch, HALF)
    running = [share + 0.99**400 * (1 - share) for share in shares]
    method.after_step(several)
    weights = [each / sum(running) for each in running]
    assert len(set(weights)) > 1
    torch.testing.assert_close(several.head.weights, torch.tensor(weights, dtype=torch.float64))
    p = [head(several(batch.target.weak).features).softmax(1) for head in several.head.heads]
    mixed = sum((w * each for w, each in zip(weights, p, strict=True)), torch.zeros(()))
    assert isinstance(mixed, Tensor)
    torch.testing.assert_close(several(batch.target.weak).logits.softmax(1), mixed)


@pytest.mark.parametrize(("routing", "forwards"), [("joint", [1, 1, 1]), ("separate", [4, 4, 1])])
def test_routing_decides_which_statistics_are_shared(batch: DomainBatch, routing: str, forwards: list[int]) -> None:
    model = Classifier(nn.Sequential(nn.BatchNorm2d(3), nn.Flatten()), 12, 3).double()
    model.head = SourceHeads([model.new_head() for _ in SIZES]).double()
    method = M3SDA(model, 3, routing=routing).double()  # type: ignore[arg-type]
    seen = 0
    for phase, number in zip(method.phases(model), forwards, strict=True):
        phase.loss(model, batch, HALF)
        seen += number
        assert int(model.backbone[0].num_batches_tracked) == seen
