from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.mixture import GaussianMixture
from torch import Tensor
from torch._subclasses import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from uan_da.norms import UAN2d
from uan_da.norms.uan import mixture as reference
from uan_da.norms.uan.mixture import Mixture, Moments

POSITIONS = [(), (7,), (3, 2), (2, 3, 2)]


def identity(x: Tensor) -> Tensor:
    return x


def mixture(k: int, c: int) -> Mixture:
    """Seeded anew, so that a test's inputs do not depend on the tests before it."""
    generator = torch.Generator().manual_seed(k * 100 + c)
    draw = torch.randn(3, k, c, generator=generator, dtype=torch.float64)
    return Mixture(draw[0] * 2, (draw[1] * 0.5).exp(), draw[2].mean(1).log_softmax(0))


def sklearn_mixture(means: np.ndarray, variances: np.ndarray, weights: np.ndarray) -> GaussianMixture:
    model = GaussianMixture(len(weights), covariance_type="diag")
    model.means_, model.covariances_, model.weights_ = means, variances, weights
    model.precisions_cholesky_ = 1 / np.sqrt(variances)
    return model


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("k", [1, 2, 5])
def test_element_responsibilities_are_those_of_one_mixture_a_channel(k: int, positions: tuple[int, ...]) -> None:
    x, state = torch.randn(4, 3, *positions, dtype=torch.float64) * 3, mixture(k, 3)
    tau = reference.element_responsibilities(x, state, eps=0.1)
    assert tau.shape == (k, *x.shape)
    for c in range(3):
        one = sklearn_mixture(
            state.mean[:, [c]].numpy(), state.var[:, [c]].numpy() + 0.1, state.log_prior.exp().numpy()
        )
        expected = one.predict_proba(x[:, c].reshape(-1, 1).numpy()).T
        np.testing.assert_allclose(tau[:, :, c].reshape(k, -1).numpy(), expected, atol=1e-12)


@pytest.mark.parametrize("positions", POSITIONS)
@pytest.mark.parametrize("k", [1, 3])
def test_position_responsibilities_are_those_of_a_diagonal_mixture(k: int, positions: tuple[int, ...]) -> None:
    x, state = torch.randn(4, 3, *positions, dtype=torch.float64), mixture(k, 3)
    tau = reference.position_responsibilities(x, state, eps=0.1)
    model = sklearn_mixture(state.mean.numpy(), state.var.numpy() + 0.1, state.log_prior.exp().numpy())
    expected = model.predict_proba(x.movedim(1, -1).reshape(-1, 3).numpy()).T
    np.testing.assert_allclose(tau.reshape(k, -1).numpy(), expected, atol=1e-12)


def sample_responsibilities(x: Tensor, state: Mixture, eps: float, sharpness: float) -> Tensor:
    evidence = reference.sample_evidence(*reference.sample_statistics(x), state, eps, sharpness)
    return reference.sample_responsibilities(evidence, state)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_sample_responsibilities_are_those_of_a_diagonal_mixture_where_the_sharpness_is_the_size(
    k: int,
) -> None:
    """T times a mean over C·S values is their sum at T = C·S, which is the density of the whole vector."""
    x, state = torch.randn(6, 3, 5, dtype=torch.float64), mixture(k, 3)
    tau = sample_responsibilities(x, state, 0.1, sharpness=15.0)
    whole = [tensor.repeat_interleave(5, 1).numpy() for tensor in (state.mean, state.var + 0.1)]
    model = sklearn_mixture(*whole, state.log_prior.exp().numpy())
    np.testing.assert_allclose(tau.numpy(), model.predict_proba(x.reshape(6, 15).numpy()), atol=1e-10)


def test_sample_responsibilities_from_the_definition() -> None:
    x, state = torch.randn(6, 3, 4, 2, dtype=torch.float64), mixture(3, 3)
    tau = sample_responsibilities(x, state, 1e-3, sharpness=7.0)
    logits = torch.zeros(6, 3, dtype=torch.float64)
    for n in range(6):
        for k in range(3):
            density = torch.distributions.Normal(state.mean[k], (state.var[k] + 1e-3).sqrt())
            logits[n, k] = state.log_prior[k] + 7 * density.log_prob(x[n].permute(1, 2, 0)).mean()
    torch.testing.assert_close(tau, logits.softmax(1))


def weighted(tau: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """numpy's weighted moments, cluster by cluster and channel by channel; ``tau`` has the shape (K, N, C, …)."""
    mean, var = torch.zeros(2, tau.shape[0], x.shape[1], dtype=x.dtype)
    for k in range(tau.shape[0]):
        for c in range(x.shape[1]):
            values, weights = x[:, c].flatten().numpy(), tau[k, :, c].flatten().numpy()
            mean[k, c] = np.average(values, weights=weights)
            var[k, c] = np.average((values - mean[k, c].item()) ** 2, weights=weights)
    return mean, var


@pytest.mark.parametrize("positions", POSITIONS)
def test_moments_are_weighted_averages(positions: tuple[int, ...]) -> None:
    x = torch.randn(5, 3, *positions, dtype=torch.float64) * 2 + 1
    size = x[0, 0].numel()
    tau = torch.rand(2, *x.shape, dtype=torch.float64).softmax(0)
    moments = reference.element_moments(tau, x, identity)
    torch.testing.assert_close((moments.mean, moments.var), weighted(tau, x))
    torch.testing.assert_close(moments.values, tau.sum(dim=[1, *range(3, tau.dim())]))
    torch.testing.assert_close(moments.mass, moments.values / (5 * size))

    tau_nk = torch.rand(5, 2, dtype=torch.float64).softmax(1)
    moments = reference.sample_moments(tau_nk, *reference.sample_statistics(x), size, identity)
    whole = tau_nk.T.reshape(2, 5, *[1] * (x.dim() - 1)).expand(2, *x.shape)
    torch.testing.assert_close((moments.mean, moments.var), weighted(whole, x))
    torch.testing.assert_close(moments.values, tau_nk.sum(0)[:, None] * size)
    torch.testing.assert_close(moments.mass, tau_nk.mean(0)[:, None])


def test_a_cluster_without_data_falls_back_to_its_learned_moments() -> None:
    state = mixture(2, 3)
    moments = Moments(
        mean=torch.full((2, 3), 5.0, dtype=torch.float64),
        var=torch.full((2, 3), 6.0, dtype=torch.float64),
        mass=torch.tensor([[1e-4], [0.9999]], dtype=torch.float64),
        values=torch.tensor([[0.0], [8.0]], dtype=torch.float64),
    )
    result = reference.with_fallback(moments, state)
    assert torch.equal(result.mean[0], state.mean[0])
    assert torch.equal(result.var[0], state.var[0])
    assert torch.equal(result.mean[1], moments.mean[1])


scales = st.floats(-6, 6).map(lambda exponent: 10.0**exponent)
offsets = st.floats(-1e4, 1e4)


def batch(scale: float, offset: float, seed: int) -> Tensor:
    """Float32 activations ``(6, 3, 4)`` of two modes."""
    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(6, 3, 4, generator=generator)
    draw[3:] += 4
    return (draw.double() * scale + offset).float()


@settings(deadline=None, max_examples=100)
@given(scales, offsets, st.integers(1, 5), st.integers(0, 99), scales)
def test_responsibilities_are_finite_and_sum_to_one(
    scale: float, offset: float, k: int, seed: int, data_scale: float
) -> None:
    """For data and clusters of any scale, near each other or not."""
    x, state = batch(data_scale, offset, seed), mixture(k, 3)
    state = Mixture((state.mean * scale + offset).float(), (state.var * scale**2).float(), state.log_prior.float())
    for tau, axis in (
        (reference.element_responsibilities(x, state, 1e-5), 0),
        (reference.position_responsibilities(x, state, 1e-5), 0),
        (sample_responsibilities(x, state, 1e-5, 100.0), 1),
    ):
        assert tau.isfinite().all()
        torch.testing.assert_close(tau.sum(axis), torch.ones_like(tau.sum(axis)))


@settings(deadline=None, max_examples=100)
@given(scales, offsets, st.integers(1, 5), st.integers(0, 99))
@example(1e-6, 1e4, 3, 0)
@example(1e-3, 1e4, 3, 1)
@example(1e6, -1e4, 5, 2)
def test_moments_are_those_of_float64(scale: float, offset: float, k: int, seed: int) -> None:
    """In x less a shift near the data, as the layer works."""
    x = batch(scale, offset, seed)
    shifted = x - x.mean((0, 2), keepdim=True)
    tau_nk = torch.rand(6, k, generator=torch.Generator().manual_seed(seed)).softmax(1)
    tau = tau_nk.T.reshape(k, 6, 1, 1).expand(k, 6, 3, 4)
    for narrow, wide in (
        (
            reference.element_moments(tau, shifted, identity),
            reference.element_moments(tau.double(), shifted.double(), identity),
        ),
        (
            reference.sample_moments(tau_nk, *reference.sample_statistics(shifted), 4, identity),
            reference.sample_moments(tau_nk.double(), *reference.sample_statistics(shifted.double()), 4, identity),
        ),
    ):
        resolution = 1e-9 * x.abs().max().double()  # of a channel that is constant in float32
        assert ((narrow.mean.double() - wide.mean).abs() <= 1e-5 * wide.var.sqrt() + resolution).all()
        assert ((narrow.var.double() - wide.var).abs() <= 1e-5 * wide.var + resolution**2).all()


class Products(TorchDispatchMode):
    """Notes the types of matrix products."""

    def __init__(self) -> None:
        super().__init__()
        self.types: set[torch.dtype] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function in (torch.ops.aten.mm.default, torch.ops.aten.bmm.default):
            self.types.add(args[0].dtype)
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("options", [{}, {"shrink": 0.5}], ids=str)
def test_no_matrix_product_of_a_training_is_in_tensor_float32(options: dict[str, Any]) -> None:
    """As one of float32 would be on a GPU."""
    with FakeTensorMode():
        layer, x = UAN2d(4, device="cuda", backend="reference", **options), torch.empty(5, 4, 3, 3, device="cuda")
        with Products() as products:
            layer(x)
    assert products.types == {torch.float64}
