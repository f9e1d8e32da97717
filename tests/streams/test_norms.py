"""What each method normalises by, against its paper's formula written out."""

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.models.classifier import Classifier
from uan_da.names import STREAM_METHODS
from uan_da.norms import convert_norm
from uan_da.streams.method import Surroundings
from uan_da.streams.methods.bn_1 import BN1, BatchMoments
from uan_da.streams.methods.bn_alpha import PriorMoments
from uan_da.streams.methods.bn_ema import BNEMA
from uan_da.streams.methods.dua import DUA
from uan_da.streams.methods.iabn import InstanceAwareNorm
from uan_da.streams.methods.unmix_tns import UnMixNorm

Double = torch.float64


@pytest.fixture
def bn() -> nn.BatchNorm2d:
    layer = nn.BatchNorm2d(3).double().eval()
    random = torch.Generator().manual_seed(1)
    for tensor in (layer.weight.data, layer.bias.data, layer.running_mean, layer.running_var):
        tensor.copy_(torch.rand(3, generator=random, dtype=Double) + 0.5)
    return layer.requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return 2 * torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(2), dtype=Double) + 1


def test_bn_1_is_batch_norm_in_training(bn: nn.BatchNorm2d, x: Tensor) -> None:
    expected = copy.deepcopy(bn).train()(x)
    torch.testing.assert_close(BatchMoments(bn)(x), expected)


def test_bn_alpha_weights_the_source_as_n_images(bn: nn.BatchNorm2d, x: Tensor) -> None:
    """N = 15 against the batch's 5: three quarters of the source."""
    mean = 0.75 * bn.running_mean + 0.25 * x.mean((0, 2, 3))  # type: ignore[operator]
    var = 0.75 * bn.running_var + 0.25 * x.var((0, 2, 3))  # type: ignore[operator]
    expected = nn.functional.batch_norm(x, mean, var, bn.weight, bn.bias, eps=bn.eps)
    torch.testing.assert_close(PriorMoments(bn, 15.0)(x), expected)


def test_iabn_corrects_by_what_is_beyond_chance(bn: nn.BatchNorm2d, x: Tensor) -> None:
    k, positions = 0.5, 16
    expected = torch.empty_like(x)
    for n in range(5):
        for c in range(3):
            mu, wide = float(bn.running_mean[c]), float(bn.running_var[c]) + bn.eps  # type: ignore[index]
            mean_gap = float(x[n, c].mean()) - mu
            var_gap = float(x[n, c].var()) - float(bn.running_var[c])  # type: ignore[index]
            shrunk = [
                math.copysign(max(abs(gap) - limit, 0.0), gap)
                for gap, limit in (
                    (mean_gap, k * math.sqrt(wide / positions)),
                    (var_gap, k * wide * math.sqrt(2 / (positions - 1))),
                )
            ]
            var = max(float(bn.running_var[c]) + shrunk[1], 0.0)  # type: ignore[index]
            expected[n, c] = (x[n, c] - mu - shrunk[0]) / math.sqrt(var + bn.eps) * bn.weight[c] + bn.bias[c]
    torch.testing.assert_close(InstanceAwareNorm(bn, k)(x), expected)


def test_unmix_tns_is_its_formula(bn: nn.BatchNorm2d, x: Tensor) -> None:
    layer = UnMixNorm(bn, 4, 0.1, torch.Generator().manual_seed(0))
    means, variances = layer.means.clone(), layer.vars.clone()
    torch.testing.assert_close(variances, 0.5 * bn.running_var.repeat(4, 1))  # type: ignore[union-attr]
    expected, steps = torch.empty_like(x), torch.zeros(2, 4, 3, dtype=Double)
    for n in range(5):
        mean, var = x[n].mean((1, 2)), x[n].var((1, 2), correction=0)
        p = torch.tensor(
            [float(torch.cosine_similarity(mean, each, 0)) / 0.07 for each in means], dtype=Double
        ).softmax(0)
        mixed = torch.stack([(1 - p[k]) * means[k] + p[k] * mean for k in range(4)])
        spread = torch.stack([(1 - p[k]) * variances[k] + p[k] * var for k in range(4)])
        total = spread.mean(0) + (mixed**2).mean(0) - mixed.mean(0) ** 2
        slope = bn.weight / (total + bn.eps).sqrt()
        expected[n] = (x[n] - mixed.mean(0)[:, None, None]) * slope[:, None, None] + bn.bias[:, None, None]
        for k in range(4):
            steps[0, k] += 0.1 * p[k] * (mean - means[k]) / 5
            steps[1, k] += 0.1 * p[k] * (var - variances[k]) / 5
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.means, means + steps[0])
    torch.testing.assert_close(layer.vars, variances + steps[1])


def test_bn_ema_is_a_training_forward_then_an_evaluation(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    twin = copy.deepcopy(network)
    seen = surroundings.seen(images(6, 0))
    with torch.no_grad():
        twin.train()(seen)
        expected = twin.eval()(seen).logits
    found = BNEMA(network, 3, surroundings).predict(images(6, 0))
    torch.testing.assert_close(found, expected)


def test_duas_momentum_decays_to_its_least(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    method, momenta = DUA(network, 3, surroundings), []
    for seed in range(3):
        method.predict(images(6, seed))
        momenta.append(method.norms[0].momentum)
    assert momenta == pytest.approx([0.1 * 0.94 + 0.005, 0.1 * 0.94**2 + 0.005, 0.1 * 0.94**3 + 0.005])


@pytest.mark.parametrize("name", ["bn_1", "bn_alpha", "bn_ema", "dua", "unmix_tns", "iabn", "uan"])
@pytest.mark.parametrize("norm", ["gn", "uan", "alpha_bn"])
def test_a_network_without_batch_norm_is_refused(
    network: Classifier, surroundings: Surroundings, name: str, norm: str
) -> None:
    convert_norm(network, norm)
    if norm == "alpha_bn" and name in ("bn_ema", "dua"):  # which has running statistics
        STREAM_METHODS.load(name)(network, 3, surroundings)
        return
    with pytest.raises(
        UserError, match=rf"^{name} .*\. Train with norm=bn, or use a method for any norm: lame, t3a, tent"
    ):
        STREAM_METHODS.load(name)(network, 3, surroundings)


@pytest.mark.parametrize("norm", ["gn", "uan", "alpha_bn"])
@pytest.mark.parametrize("name", ["lame", "t3a", "tent", "eta", "cotta"])
def test_what_is_named_in_the_refusal_works(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor], name: str, norm: str
) -> None:
    convert_norm(network, norm)
    options = {"views": 2} if name == "cotta" else {}
    method = STREAM_METHODS.load(name)(network.eval(), 3, surroundings, **options)
    assert method.predict(images(6, 0)).isfinite().all()


def test_single_images_are_normalised_by_themselves(
    network: Classifier, surroundings: Surroundings, images: Callable[..., Tensor]
) -> None:
    found = BN1(copy.deepcopy(network), 3, surroundings).predict(images(1, 0))
    twin = network
    for layer in twin.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.train()
    torch.testing.assert_close(found, twin(surroundings.seen(images(1, 0))).logits, rtol=1e-4, atol=1e-5)
