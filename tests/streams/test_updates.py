"""One whole update of each method with several parts, against its formula on a twin of the network; what it stores."""

import copy
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.models.classifier import Classifier
from uan_da.names import STREAM_METHODS
from uan_da.seeding import generator
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.delta import DELTA
from uan_da.streams.methods.deyo import DeYO, shuffle_patches
from uan_da.streams.methods.lame import LAME
from uan_da.streams.methods.memo import MEMO
from uan_da.streams.methods.note import NOTE
from uan_da.streams.methods.roid import ROID
from uan_da.streams.methods.rotta import RoTTA
from uan_da.streams.methods.sar import SAR
from uan_da.streams.methods.unmix_tns import UnMixNorm, UnMixTNS
from uan_da.streams.views import jittered_views

Images = Callable[..., Tensor]
Entropies = Callable[[Tensor], Tensor]
Twin = Callable[[Classifier], Classifier]


def affine(model: Classifier) -> list[Tensor]:
    return [getattr(model.backbone[index], name) for index in (1, 4) for name in ("weight", "bias")]


def step(loss: Tensor, parameters: list[Tensor]) -> None:
    """Of Adam at 1e-3, its first."""
    optimizer = torch.optim.Adam(parameters, lr=1e-3)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    optimizer.zero_grad()


Moments = Callable[[Tensor, nn.BatchNorm2d], tuple[Tensor, Tensor]]


def by(moments: Moments, model: Classifier, x: Tensor) -> Tensor:
    """Logits of a network whose norms normalise by the moments that are given; these may have a gradient."""
    for layer in model.backbone:
        if isinstance(layer, nn.BatchNorm2d):
            mean, var = moments(x, layer)
            weight, bias = layer.weight[:, None, None], layer.bias[:, None, None]
            x = (x - mean[:, None, None]) / (var[:, None, None] + layer.eps).sqrt() * weight + bias
        else:
            x = layer(x)
    logits: Tensor = model.head(x)
    return logits


def mixed(share: float, correction: int) -> Moments:
    """A share of the batch's moments in the running ones."""

    def moments(x: Tensor, layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        assert layer.running_mean is not None
        assert layer.running_var is not None
        mean = (1 - share) * layer.running_mean + share * x.mean((0, 2, 3))
        return mean, (1 - share) * layer.running_var + share * x.var((0, 2, 3), correction=correction)

    return moments


def close(found: Any, expected: Any) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_deyo_weights_what_is_sure_and_depends_on_shape(
    network: Classifier, surroundings: Surroundings, images: Images, h: Entropies, in_batch: Twin
) -> None:
    twin, seen = in_batch(network), surroundings.seen(images(6, 0))
    logits = twin(seen).logits
    with torch.no_grad():
        other = twin(shuffle_patches(seen, 4, generator(0, "deyo"))).logits.softmax(1)
    label = logits.argmax(1)
    gap = torch.stack([logits[i].softmax(0)[label[i]] - other[i, label[i]] for i in range(6)]).detach()
    middle = float(gap.sort().values[2:4].mean())  # half of the images depend on shape by more
    chosen = [i for i in range(6) if gap[i] > middle]
    weight = [math.exp(0.4 * math.log(3) - float(h(logits)[i].detach())) + math.exp(float(gap[i])) for i in chosen]
    step(sum(h(logits)[i] * w for i, w in zip(chosen, weight, strict=True)) / len(chosen), affine(twin))  # type: ignore[arg-type]
    method = DeYO(network, 3, surroundings, sure=1.5, difference=middle)
    close(method.predict(images(6, 0)), logits.detach())
    close(affine(network), affine(twin))


def test_delta_weights_what_is_rarely_predicted(
    network: Classifier, surroundings: Surroundings, images: Images, h: Entropies, in_batch: Twin
) -> None:
    twin = in_batch(network)  # the first batch starts TBR's averages
    logits = twin(surroundings.seen(images(6, 0))).logits
    method = DELTA(network, 3, surroundings)
    method.margin, method.average = 1.5, torch.tensor([0.5, 0.3, 0.2])
    rare = torch.tensor([1 / float(method.average[label]) for label in logits.argmax(1).tolist()])
    rare = rare / rare.sum() * 6
    step((h(logits) * (1.5 - h(logits).detach()).exp() * rare).mean(), affine(twin))
    close(method.predict(images(6, 0)), logits.detach())
    close(affine(method.model), affine(twin))
    close(method.average, 0.95 * torch.tensor([0.5, 0.3, 0.2]) + 0.05 * logits.softmax(1).mean(0).detach())


def test_roid_is_its_two_losses_and_a_pull_to_the_source(
    network: Classifier, surroundings: Surroundings, images: Images, h: Entropies, in_batch: Twin
) -> None:
    twin, start, pixels = in_batch(network), [p.clone() for p in affine(network)], images(6, 0)
    logits = twin(surroundings.seen(pixels)).logits
    p = logits.softmax(1)
    diversity = 1 - torch.cosine_similarity(torch.full((1, 3), 1 / 3), p.detach(), dim=1)
    certainty = -h(logits).detach()
    scaled = [(v - v.min()) / (v.max() - v.min()) for v in (diversity, certainty)]
    weight, chosen = (3 * scaled[0] * scaled[1]).exp(), scaled[0] >= scaled[0].mean()
    views = jittered_views(3, blur=False)
    other = twin(surroundings.augmented(pixels[chosen], views, "roid", 0)).logits
    ratio = -(p * (p / (1 - p) + 1e-5).log()).sum(1)
    q, r = other.softmax(1), p[chosen]
    cross = -0.5 * (r * q.log() + q * r.log()).sum(1)
    step(((ratio * weight)[chosen].sum() + (cross * weight[chosen]).sum()) / 6, affine(twin))
    method = ROID(network, 3, surroundings)
    prior = p.detach().mean(0)
    smooth = (1 / 3) / prior.max()
    close(method.predict(pixels), logits.detach() * (prior + smooth) / (1 + 3 * smooth))
    close(affine(network), [0.99 * a + 0.01 * b for a, b in zip(affine(twin), start, strict=True)])
    close(method.average, 0.9 / 3 + 0.1 * prior)


def test_sar_moves_by_momentum_alone_where_nothing_is_sure(
    network: Classifier, surroundings: Surroundings, images: Images
) -> None:
    method = SAR(network, 3, surroundings, margin=2.0, recovery=0.0)
    before = [p.clone() for p in affine(network)]
    method.predict(images(6, 0))
    first, average = [p.clone() for p in affine(network)], method.average
    method.margin = 0.0
    method.predict(images(6, 1))
    expected = [b + 0.9 * (b - a) for a, b in zip(before, first, strict=True)]
    close(affine(network), expected)
    assert method.average == average


def test_rotta_learns_from_its_teacher_by_age(network: Classifier, surroundings: Surroundings, images: Images) -> None:
    """All six images are kept; both networks move their statistics by a twentieth, then γ and β move once."""
    networks = [copy.deepcopy(network).requires_grad_(False) for _ in range(2)]
    pixels, around = images(6, 0), surroundings
    method = RoTTA(network, 3, around, capacity=6, nu=0.25)
    method.memory.add = _keep_all(method)  # type: ignore[method-assign]
    predicted = method.predict(pixels)
    with torch.no_grad():
        close(predicted, networks[0](around.seen(pixels)).logits)
    ages = torch.arange(6, 0, -1) / 6
    targets = by(mixed(0.05, 0), networks[0], around.seen(pixels)).softmax(1).detach()
    for parameter in affine(networks[1]):
        parameter.requires_grad_()
    logits = by(mixed(0.05, 0), networks[1], around.augmented(pixels, jittered_views(3), "rotta", 6))
    weight = (-ages).exp() / (1 + (-ages).exp())
    step((-(targets * logits.log_softmax(1)).sum(1) * weight).mean(), affine(networks[1]))
    close(affine(method.model), affine(networks[1]))
    teacher = [0.75 * a + 0.25 * b for a, b in zip(affine(networks[0]), affine(networks[1]), strict=True)]
    close(affine(method.teacher), teacher)


def _keep_all(method: RoTTA) -> Callable[..., None]:
    def add(new: Any) -> None:
        method.memory.kept.append(new)
        for kept in method.memory.kept:
            kept.age += 1

    return add


def test_note_minimises_entropy_on_its_memory(
    network: Classifier, surroundings: Surroundings, images: Images, h: Entropies, in_batch: Twin
) -> None:
    """Where no image differs from the batch by more than chance (k is large), the norms are BatchNorm in training."""
    twin = in_batch(network)
    logits = by(mixed(1.0, 1), twin, surroundings.seen(images(6, 0)))
    step(h(logits).mean() / 3, affine(twin))
    method = NOTE(network, 3, surroundings, capacity=6, k=1e6)
    method.predict(images(6, 0))
    close(affine(method.model), affine(twin))


def test_memo_steps_on_one_images_views_and_forgets(
    network: Classifier, surroundings: Surroundings, images: Images
) -> None:
    """Norms have 0.9 of the source's statistics and 0.1 of the views', which have no gradient."""
    source, pixels = copy.deepcopy(network), images(2, 0)
    method = MEMO(network, 3, surroundings, views=4, lr=0.5)
    found = method.predict(pixels)

    def shared(x: Tensor, layer: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
        return mixed(0.1, 1)(x.detach(), layer)

    for number in range(2):
        twin = copy.deepcopy(source).requires_grad_(True)
        views = pixels[number].expand(4, -1, -1, -1)
        logits = by(shared, twin, surroundings.augmented(views, surroundings.strong, "memo", number))
        mean = logits.softmax(1).mean(0)
        loss = -(mean * mean.log()).sum()
        parameters = list(twin.parameters())
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                parameter -= 0.5 * gradient
            close(found[number], by(shared, twin, surroundings.seen(pixels[number][None]))[0])
    assert not torch.allclose(found, source(surroundings.seen(pixels)).logits, atol=1e-2)


def test_lame_is_a_fixed_point_of_its_update(network: Classifier, surroundings: Surroundings, images: Images) -> None:
    """Y = softmax(log p + W Y), W the Gaussian kernel of unit features at the mean distance to the fifth nearest."""
    features, logits = network(surroundings.seen(images(6, 0)))
    units = F.normalize(features.double(), dim=1)
    distance = torch.cdist(units, units)
    sigma = distance.sort(1).values[:, 4].mean()
    kernel = (-(distance**2) / (2 * sigma**2)).exp()
    y = logits.double().softmax(1)
    for _ in range(500):
        y = (logits.double().log_softmax(1) + kernel @ y).softmax(1)
    torch.testing.assert_close(LAME(network, 3, surroundings).predict(images(6, 0)).exp(), y, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize(("batch", "rate"), [(64, 0.1), (1, 1 - 0.9 ** (1 / 64)), (128, 0.19)])
def test_unmix_tns_learns_less_from_a_small_batch(
    network: Classifier, surroundings: Surroundings, batch: int, rate: float
) -> None:
    method = UnMixTNS(network, 3, replace(surroundings, batch=batch))
    norms = [layer for layer in method.modules() if isinstance(layer, UnMixNorm)]
    assert [norm.rate for norm in norms] == pytest.approx([rate, rate])
    assert [tuple(norm.means.shape) for norm in norms] == [(16, 4), (16, 6)]
    vector = UnMixNorm(nn.BatchNorm1d(4), 16, 0.1, torch.Generator()).eval()
    close(vector(torch.ones(2, 4)), torch.ones(2, 4) / math.sqrt(1 + 1e-5))


AFFINE, CHANNELS, IMAGE = 20, 10, 3 * 8 * 8
"""Numbers of γ and β, channels of both norms, bytes of an image."""
ADAM, SGD = 2 * AFFINE * 4 + 4 * 4, AFFINE * 4
KEPT = {
    "tent": ADAM,
    "eta": ADAM + 3 * 4,
    "rdumb": ADAM + 3 * 4 + AFFINE * 4,
    "eata": ADAM + 3 * 4 + 2 * AFFINE * 4,
    "deyo": ADAM,
    "sar": SGD + AFFINE * 4,
    "roid": ADAM + 3 * 4 + AFFINE * 4,
    "lame": 0,
    "source": 0,
    "bn_ema": 0,
    "dua": 0,
}
"""Of the optimizer, the average prediction, the source's γ and β, the Fisher information."""


@pytest.mark.parametrize("name", KEPT)
def test_what_is_stored(network: Classifier, surroundings: Surroundings, images: Images, name: str) -> None:
    all_sure: dict[str, dict[str, float]] = {key: {"margin": 2.0} for key in ("eta", "rdumb", "eata", "sar")}
    all_sure["deyo"] = {"sure": 2.0, "difference": -1.0}
    method = STREAM_METHODS.load(name)(network, 3, surroundings, **all_sure.get(name, {}))
    method.predict(images(6, 0))
    assert method.stored_bytes() == KEPT[name]


@pytest.mark.parametrize(("name", "options"), [("note", {"capacity": 4}), ("rotta", {"capacity": 12})])
def test_a_memory_is_stored(
    network: Classifier, surroundings: Surroundings, images: Images, name: str, options: dict[str, int]
) -> None:
    method = STREAM_METHODS.load(name)(network, 3, surroundings, **options)
    before = method.stored_bytes()
    method.predict(images(2, 0))
    assert method.stored_bytes() - before == 2 * IMAGE


@pytest.mark.parametrize(
    "name",
    ["source", "bn_1", "bn_alpha", "ttn", "bn_ema", "dua", "tbr", "uan", "unmix_tns", "iabn", "lame", "t3a"],
)
def test_without_gradients_no_weight_moves(
    network: Classifier, surroundings: Surroundings, images: Images, name: str
) -> None:
    before = {key: value.clone() for key, value in network.named_parameters()}
    method = STREAM_METHODS.load(name)(network, 3, surroundings)
    for seed in range(3):
        method.predict(images(6, seed))
    assert not method.gradients
    assert method.backwards == 0
    after = dict(network.named_parameters())
    assert all(torch.equal(value, after[key]) for key, value in before.items())
