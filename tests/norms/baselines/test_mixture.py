import copy
import io
import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture
from torch import Tensor, nn

from uan_da.norms import frozen_statistics
from uan_da.norms.baselines.mixture import MixtureNorm, mixture_norm


def modes(n: int = 16) -> Tensor:
    """Two groups of images far apart."""
    return torch.cat([torch.randn(n, 3, 4, 4) - 5, torch.randn(n, 3, 4, 4) * 2 + 5])


def rows(x: Tensor) -> np.ndarray:
    return x.movedim(1, -1).reshape(-1, x.shape[1]).double().numpy()


def sklearn_twin(layer: MixtureNorm) -> GaussianMixture:
    """scikit-learn's mixture with the layer's parameters."""
    twin = GaussianMixture(layer.num_clusters, covariance_type="diag")
    twin.weights_ = layer.log_prior.double().exp().numpy()
    twin.means_, twin.covariances_ = layer.mean.double().numpy(), layer.var.double().numpy()
    twin.precisions_cholesky_ = 1 / np.sqrt(twin.covariances_)
    return twin


def test_the_first_batch_is_fitted_as_by_scikit_learn() -> None:
    x = modes()
    layer = MixtureNorm(3, num_clusters=2)
    layer(x)
    reference = GaussianMixture(2, covariance_type="diag", init_params="k-means++", random_state=0).fit(rows(x))
    order, expected = layer.mean[:, 0].argsort(), reference.means_[:, 0].argsort()
    np.testing.assert_allclose(layer.mean[order].numpy(), reference.means_[expected], atol=1e-2)
    np.testing.assert_allclose(layer.var[order].numpy(), reference.covariances_[expected], rtol=1e-2)
    np.testing.assert_allclose(layer.log_prior[order].exp().numpy(), reference.weights_[expected], atol=1e-3)


def test_responsibilities_are_those_of_scikit_learn() -> None:
    x = torch.randn(8, 3, 4, 4)
    layer = MixtureNorm(3, eps=1e-12, num_clusters=3)
    layer(x)
    tau = layer.responsibilities(x)
    assert tau.shape == (3, 8, 1, 4, 4)
    expected = sklearn_twin(layer).predict_proba(rows(x)).T
    np.testing.assert_allclose(tau.reshape(3, -1).numpy(), expected, atol=1e-5)


def test_training_is_the_formula_of_the_paper() -> None:
    x = torch.randn(8, 3, 4, 4)
    layer = MixtureNorm(3, num_clusters=3)
    layer.weight.data.normal_()
    y = layer(x)
    tau, values = sklearn_twin(layer).predict_proba(rows(x)), rows(x)
    expected = np.zeros_like(values)
    for k, prior in enumerate(layer.log_prior.exp().tolist()):
        share = tau[:, [k]] / tau[:, [k]].sum(0)
        centred = values - (share * values).sum(0)
        deviation = np.sqrt((share * centred**2).sum(0) + layer.eps)
        expected += tau[:, [k]] / math.sqrt(prior) * centred / deviation
    expected *= layer.weight.detach().numpy()
    np.testing.assert_allclose(rows(y.detach()), expected, atol=1e-4)


def test_one_cluster_is_batch_norm() -> None:
    layer, bn = MixtureNorm(3, num_clusters=1), nn.BatchNorm2d(3)
    for step in range(3):
        x = torch.randn(8, 3, 4, 4) * (step + 1) + 9
        torch.testing.assert_close(layer(x), bn(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(layer.running_var[0], bn.running_var)
    torch.testing.assert_close(layer.eval()(x), bn.eval()(x), rtol=1e-4, atol=1e-5)


def test_the_mixture_is_fixed_between_fits_and_clusters_keep_their_place() -> None:
    layer = MixtureNorm(3, num_clusters=2, fit_every=3)
    means = []
    for step in range(7):
        x = modes() + step
        layer(x.flip(0) if step >= 3 else x)  # a fit from nothing would find the clusters in another order
        means.append(layer.mean.clone())
    assert torch.equal(means[0], means[1])
    assert torch.equal(means[0], means[2])
    torch.testing.assert_close(means[3], means[0] + 3, atol=0.3, rtol=0)  # from the last fit: same order
    assert torch.equal(means[3], means[5])
    torch.testing.assert_close(means[6], means[0] + 6, atol=0.3, rtol=0)


def test_a_checkpoint_goes_on_with_the_schedule() -> None:
    layer = MixtureNorm(3, num_clusters=2, fit_every=3)
    layer(modes())
    file = io.BytesIO()
    torch.save(layer.state_dict(), file)
    file.seek(0)
    loaded = MixtureNorm(3, num_clusters=2, fit_every=3)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for step in range(4):
        x = modes() + step
        assert torch.equal(loaded(x), layer(x))
    assert torch.equal(loaded.mean, layer.mean)


def test_no_random_number_of_the_run_is_used() -> None:
    layer, x = MixtureNorm(3, fit_positions=64), modes()
    state = torch.get_rng_state(), np.random.get_state()[1].copy()
    layer(x)
    assert torch.equal(torch.get_rng_state(), state[0])
    assert np.array_equal(np.random.get_state()[1], state[1])


@pytest.mark.parametrize("x", [torch.zeros(4, 3, 2, 2), torch.randn(1, 3), torch.randn(2, 3) * 1e-20 + 1e4])
def test_ugly_batches(x: Tensor) -> None:
    layer = MixtureNorm(3, num_clusters=2)
    x = x.clone().requires_grad_()
    for _ in range(2):
        y = layer(x)
        y.sum().backward()
        assert y.isfinite().all()
        assert x.grad.isfinite().all()
    assert all(value.isfinite().all() for value in layer.state_dict().values())


def test_a_batch_with_fewer_positions_than_clusters_waits_for_the_next() -> None:
    layer = MixtureNorm(3, num_clusters=2)
    layer(torch.randn(1, 3))
    assert layer.forwards_to_fit == -1
    layer(torch.randn(8, 3))
    assert layer.forwards_to_fit >= 0


def test_gradients() -> None:
    x = torch.randn(4, 3, 2, dtype=torch.float64, requires_grad=True)
    layer = MixtureNorm(3, num_clusters=2, dtype=torch.float64)
    layer(x.detach())
    with frozen_statistics(layer):
        assert torch.autograd.gradcheck(layer, (x,))


def test_half_precision_and_copies() -> None:
    x = (modes() * 100).half()
    layer = MixtureNorm(3, num_clusters=2)
    layer(x)
    y = copy.deepcopy(layer)(x.float())
    with torch.autocast("cpu", torch.bfloat16):
        half = layer(x)
    assert half.dtype == torch.float16
    torch.testing.assert_close(half.float(), y, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("k", [1, 3])
def test_a_pretrained_norm_keeps_its_function_until_the_first_fit(k: int) -> None:
    bn = nn.BatchNorm2d(3)
    bn(torch.randn(8, 3, 4, 4) * 2 + 1)
    bn.eval()
    layer, x = mixture_norm(bn, num_clusters=k).eval(), torch.randn(8, 3, 4, 4)
    torch.testing.assert_close(layer(x), bn(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_clusters": 0}, "`num_clusters` to be an integer of at least 1"),
        ({"fit_every": 0}, "`fit_every` to be an integer of at least 1"),
        ({"fit_positions": 2}, "`fit_positions` to be at least num_clusters"),
    ],
)
def test_bad_options(options: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MixtureNorm(3, **options)
