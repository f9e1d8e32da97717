"""What the methods with gradients minimise and move, against their papers' formulas written out."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.names import STREAM_METHODS
from uan_da.streams.memory import Kept, ReservoirMemory, TimelyMemory
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.cotta import CoTTA
from uan_da.streams.methods.deyo import shuffle_patches
from uan_da.streams.methods.eata import EATA
from uan_da.streams.methods.eta import ETA
from uan_da.streams.methods.memo import marginal_entropy
from uan_da.streams.methods.note import NOTE, FollowingNorm
from uan_da.streams.methods.rdumb import RDumb
from uan_da.streams.methods.roid import smoothed_prior, soft_likelihood_ratio, symmetric_cross_entropy
from uan_da.streams.methods.rotta import RobustNorm
from uan_da.streams.methods.sar import SAR
from uan_da.streams.methods.t3a import T3A
from uan_da.streams.methods.tbr import RenormNorm
from uan_da.streams.methods.tent import Tent
from uan_da.streams.methods.ttn import MixedMoments
from uan_da.streams.norm import learning

Double = torch.float64
Entropies = Callable[[Tensor], Tensor]
Twin = Callable[[Classifier], Classifier]
AFFINE_ONLY = ["tent", "eta", "eata", "sar", "rdumb", "delta", "roid", "deyo", "uan_eta", "rotta", "note"]


def affine(model: Classifier) -> list[Tensor]:
    return [p for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()]


@pytest.mark.parametrize("name", AFFINE_ONLY)
def test_gamma_and_beta_alone_move(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], name: str
) -> None:
    before = copy.deepcopy(network.state_dict())
    options = {"capacity": 6} if name in ("rotta", "note") else {}
    method = STREAM_METHODS.load(name)(network, 3, surroundings, **options)
    for seed in range(3):
        method.predict(images(6, seed))
    after = network.state_dict()
    moved = {key for key, value in before.items() if key in after and not torch.equal(value, after[key])}
    assert all(key.startswith(("backbone.1.", "backbone.4.")) for key in moved)
    assert method.gradients


def test_tent_is_one_step_of_adam_on_the_mean_entropy(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], h: Entropies, in_batch: Twin
) -> None:
    twin = in_batch(network)
    optimizer = torch.optim.Adam(affine(twin), lr=1e-3)
    logits = twin(surroundings.seen(images(6, 0))).logits
    h(logits).mean().backward()
    optimizer.step()
    found = Tent(network, 3, surroundings).predict(images(6, 0))
    torch.testing.assert_close(found, logits.detach())
    torch.testing.assert_close(affine(network), affine(twin))


def test_stored_bytes_are_what_is_kept_beside_the_network(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    method = Tent(network, 3, surroundings)
    assert method.stored_bytes() == 0
    method.predict(images(6, 0))
    assert method.stored_bytes() == 2 * 20 * 4 + 4 * 4  # Adam's two averages of γ and β, and four counters


def test_eta_weights_what_is_sure_and_new(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], h: Entropies, in_batch: Twin
) -> None:
    margin = 1.03 * math.log(3)  # the untrained network is sure of nothing
    twin = in_batch(network)
    optimizer = torch.optim.Adam(affine(twin), lr=1e-3)
    average: Tensor | None = None
    method = ETA(network, 3, surroundings, margin=1.03, redundancy=0.9995)
    for seed in range(3):
        logits = twin(surroundings.seen(images(6, seed))).logits
        chosen = [
            i
            for i in range(6)
            if h(logits)[i] < margin
            and (average is None or torch.cosine_similarity(average, logits[i].softmax(0), 0) < 0.9995)
        ]
        if chosen:
            mean = logits[chosen].softmax(1).mean(0).detach()
            average = mean if average is None else 0.9 * average + 0.1 * mean
            losses = h(logits)[chosen]
            optimizer.zero_grad()
            (losses * (margin - losses.detach()).exp()).mean().backward()
            optimizer.step()
        torch.testing.assert_close(method.predict(images(6, seed)), logits.detach())
        torch.testing.assert_close(method.average, average)
    torch.testing.assert_close(affine(network), affine(twin))


def test_eata_is_eta_with_an_anchor_of_fisher_information(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], in_batch: Twin
) -> None:
    twin = in_batch(network)
    method = EATA(network, 3, surroundings, samples=12, fisher=2.0)
    total = [torch.zeros_like(p) for p in affine(twin)]
    assert surroundings.source is not None
    for part in surroundings.source(12).split(6):  # type: ignore[no-untyped-call]
        logits = twin(surroundings.seen(part)).logits
        loss = nn.functional.cross_entropy(logits, logits.argmax(1))
        for into, gradient in zip(total, torch.autograd.grad(loss, affine(twin)), strict=True):
            into += gradient**2 / 2
    torch.testing.assert_close(method.fisher, total)
    with torch.no_grad():
        for parameter in affine(network):
            parameter.add_(0.1)
    expected = sum(2.0 * 0.01 * each.sum() for each in total)
    torch.testing.assert_close(method.penalty(), expected)
    with pytest.raises(UserError, match="source images"):
        EATA(network, 3, Surroundings(surroundings.input, 1, 6))


def test_sar_steps_by_the_gradient_at_the_sharpest_point_near(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], h: Entropies, in_batch: Twin
) -> None:
    twin, method = in_batch(network), SAR(network, 3, surroundings, margin=2.0, recovery=0.0)
    seen, parameters = surroundings.seen(images(6, 0)), affine(twin)
    first = torch.autograd.grad(h(twin(seen).logits).mean(), parameters)
    length = math.sqrt(sum(float(g.square().sum()) for g in first))
    with torch.no_grad():
        for parameter, g in zip(parameters, first, strict=True):
            parameter.add_(0.05 / length * g)
    second = torch.autograd.grad(h(twin(seen).logits).mean(), parameters)
    with torch.no_grad():
        for parameter, one, two in zip(parameters, first, second, strict=True):
            parameter.sub_(0.05 / length * one).sub_(1e-3 * two)
    method.predict(images(6, 0))
    torch.testing.assert_close(affine(network), parameters, rtol=1e-4, atol=1e-6)


def test_sar_recovers_and_rdumb_resets(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    start = [p.clone() for p in affine(network)]
    recovering = SAR(copy.deepcopy(network), 3, surroundings, margin=2.0, recovery=9.0)
    recovering.predict(images(6, 0))
    torch.testing.assert_close(affine(recovering.model), start)  # type: ignore[arg-type]
    method = RDumb(network, 3, surroundings, margin=2.0, redundancy=2.0, period=2)
    first = method.predict(images(6, 0))
    method.predict(images(6, 1))
    assert not torch.equal(affine(network)[0], start[0])
    torch.testing.assert_close(method.predict(images(6, 0)), first)


def test_cottas_teacher_follows_and_all_weights_may_return(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], in_batch: Twin
) -> None:
    start = [p.clone() for p in network.parameters()]
    method = CoTTA(copy.deepcopy(network), 3, surroundings, momentum=0.9, restore=0.0, views=2)
    predicted = method.predict(images(6, 0))
    own, teacher = list(method.model.parameters()), list(method.teacher.parameters())
    torch.testing.assert_close(teacher, [0.9 * a + 0.1 * b for a, b in zip(start, own, strict=True)])
    assert all(not torch.equal(a, b) for a, b in zip(start, own, strict=True) if a.dim() > 1)
    sure = CoTTA(copy.deepcopy(network), 3, surroundings, threshold=0.0)
    twin = in_batch(network)
    torch.testing.assert_close(sure.predict(images(6, 0)), twin(surroundings.seen(images(6, 0))).logits.detach())
    assert not torch.allclose(predicted, twin(surroundings.seen(images(6, 0))).logits, atol=1e-3)
    back = CoTTA(network, 3, surroundings, restore=1.0, views=2)
    back.predict(images(6, 0))
    torch.testing.assert_close(list(back.model.parameters()), start)


def test_formulas_of_roid() -> None:
    logits = torch.tensor([[2.0, 0.0, -1.0], [9.0, 0.0, 0.0]], dtype=Double)
    other = torch.tensor([[0.0, 1.0, 0.0], [1.0, 1.0, 1.0]], dtype=Double)
    p, q = logits.softmax(1), other.softmax(1)
    for i in range(2):
        clipped = [min(float(v), 0.99) for v in p[i]]
        expected = -sum(v * math.log(v / (1 - v) + 1e-5) for v in clipped)
        assert float(soft_likelihood_ratio(logits)[i]) == pytest.approx(expected)
        cross = -sum(float(q[i, c] * p[i, c].log() + p[i, c] * q[i, c].log()) for c in range(3)) / 2
        assert float(symmetric_cross_entropy(logits, other)[i]) == pytest.approx(cross)
    prior = p.mean(0)
    smooth = 0.5 / prior.max()
    torch.testing.assert_close(smoothed_prior(logits), (prior + smooth) / (1 + 3 * smooth))


def test_marginal_entropy_is_that_of_the_mea_prediction() -> None:
    logits = torch.randn(5, 4, generator=torch.Generator().manual_seed(0), dtype=Double)
    mean = logits.softmax(1).mean(0)
    torch.testing.assert_close(marginal_entropy(logits), -(mean * mean.log()).sum())


def test_shuffling_keeps_the_patches() -> None:
    images = torch.arange(2 * 3 * 64, dtype=torch.float32).view(2, 3, 8, 8)
    shuffled = shuffle_patches(images, 4, torch.Generator().manual_seed(0))
    for before, after in zip(images, shuffled, strict=True):
        patches = [
            {tuple(each[:, r : r + 2, c : c + 2].flatten().tolist()) for r in range(0, 8, 2) for c in range(0, 8, 2)}
            for each in (before, after)
        ]
        assert patches[0] == patches[1]
        assert not torch.equal(before, after)
    assert shuffle_patches(torch.rand(1, 3, 9, 7), 4, torch.Generator()).shape == (1, 3, 9, 7)


def test_statistics_of_tbr_ttn_and_rotta() -> None:
    bn = nn.BatchNorm2d(2, affine=False).double()
    random = torch.Generator().manual_seed(0)
    batches = [scale * torch.randn(4, 2, 3, 3, generator=random, dtype=Double) for scale in (1, 2)]
    mean, var = ([b.mean((0, 2, 3)) for b in batches], [b.var((0, 2, 3), correction=0) for b in batches])
    renorm = RenormNorm(bn, 0.9)
    torch.testing.assert_close(renorm(batches[0]), bn.train()(batches[0]))  # the first batch starts the averages
    deviation = (var[0] + bn.eps).sqrt()
    expected = (batches[1] - mean[0].view(2, 1, 1)) / deviation.view(2, 1, 1)
    torch.testing.assert_close(renorm(batches[1]), expected)
    torch.testing.assert_close(renorm.mean, 0.9 * mean[0] + 0.1 * mean[1])

    bn = nn.BatchNorm2d(2, affine=False).double().eval()  # of mean 0 and variance 1
    both = (0.25 * mean[0], 0.25 * var[0] + 0.75 + 0.25 * 0.75 * mean[0] ** 2)
    torch.testing.assert_close(MixedMoments(bn, 0.25).moments(batches[0]), both)

    robust = RobustNorm(bn, 0.1)
    with learning(robust):
        robust(batches[0])
    torch.testing.assert_close(robust.mean, 0.1 * mean[0])
    torch.testing.assert_close(robust.var, 0.9 + 0.1 * var[0])
    robust(batches[1])
    torch.testing.assert_close(robust.mean, 0.1 * mean[0])


def test_t3as_prototypes_are_means_of_unit_features(
    network: Classifier, surroundings: Surroundings, h: Entropies
) -> None:
    method = T3A(network, 3, surroundings, filter=2)
    pixels = torch.randint(0, 256, (6, 3, 8, 8), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    features, logits = network(surroundings.seen(pixels))
    weight = network.head.weight
    everything = torch.cat([weight, features])
    said = torch.cat([network.head(weight), logits])
    expected = []
    for label in range(3):
        own = [i for i in range(9) if said[i].argmax() == label]
        surest = sorted(own, key=lambda i: float(h(said[i : i + 1])))[:2]
        total = sum((everything[i] / everything[i].norm() for i in surest), torch.zeros(24))
        expected.append(total / total.norm().clamp_min(1e-12))
    torch.testing.assert_close(method.predict(pixels), features @ torch.stack(expected).T, rtol=1e-4, atol=1e-5)


def kept(label: int, entropy: float = 0.0) -> Kept:
    return Kept(torch.zeros(3, 2, 2), label, entropy)


def test_a_reservoir_balances_predicted_classes() -> None:
    memory = ReservoirMemory(6, 0)
    for label in [0] * 50 + [1, 2, 1, 2]:
        memory.add(kept(label))
    labels = [each.label for each in memory.kept]
    assert len(labels) == 6
    assert [labels.count(label) for label in range(3)] == [2, 2, 2]


def test_a_timely_memory_drops_what_is_old_or_unsure() -> None:
    memory = TimelyMemory(4, 2)
    for entropy in (0.6, 0.1, 0.3):  # the class has room for two
        memory.add(kept(0, entropy))
    assert [each.entropy for each in memory.kept] == [0.1, 0.3]
    memory.add(kept(0, 0.69))  # worse than both: it stays outside, and they grow older
    assert [(each.entropy, each.age) for each in memory.kept] == [(0.1, 3), (0.3, 2)]
    memory.add(kept(1, 0.2))
    assert len(memory.kept) == 3
    assert memory.score(memory.kept[0]) == pytest.approx(1 / (1 + math.exp(-1)) + 0.1 / math.log(2))


def test_notes_norms_follow_the_memory(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    first = network.backbone[1]
    assert isinstance(first, nn.BatchNorm2d)
    before = first.running_mean
    assert before is not None
    with torch.no_grad():
        seen = network.backbone[0](surroundings.seen(images(6, 0)))
    expected = torch.lerp(before, seen.mean((0, 2, 3)), 0.1)
    method = NOTE(network, 3, surroundings, capacity=6, momentum=0.1)
    method.predict(images(6, 0))
    norm = method.model.backbone[1]
    assert isinstance(norm, FollowingNorm)
    torch.testing.assert_close(norm.mean, expected)
