"""Kernels and the MMD against loops."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from uan_da.methods.discrepancy.kernels import gaussian, mmd, multi_gaussian, squared_distances

SIZES = [(4, 4), (5, 5), (7, 4), (3, 8), (2, 1), (1, 5), (1, 1)]


def naive_distance(a: Tensor, b: Tensor) -> Tensor:
    return sum(((x - y) ** 2 for x, y in zip(a, b, strict=True)), torch.zeros((), dtype=a.dtype))


def naive_kernel(x: Tensor) -> Tensor:
    n = len(x)
    distances = [[naive_distance(x[i], x[j]) for j in range(n)] for i in range(n)]
    spread = sum(float(d.detach()) for row in distances for d in row) / n**2
    alphas = [0.125, 0.25, 0.5, 1.0, 2.0]
    rows = [torch.stack([sum((-d / (2 * a * spread)).exp() for a in alphas) for d in row]) for row in distances]
    return torch.stack(rows)


def unbiased(kernel: Tensor, n: int) -> float:
    """The U-statistic: a sample is never paired with itself."""
    m = len(kernel) - n
    own = [[(i, j) for i in side for j in side if i != j or len(side) == 1] for side in (range(n), range(n, n + m))]
    within = sum(sum(float(kernel[i, j]) for i, j in pairs) / len(pairs) for pairs in own)
    return within - 2 * float(kernel[:n, n:].mean())


def test_distances_and_their_gradient_equal_the_formula() -> None:
    torch.manual_seed(0)
    x, y = (torch.randn(n, 3, dtype=torch.float64, requires_grad=True) for n in (4, 6))
    naive = torch.stack([torch.stack([naive_distance(a, b) for b in y]) for a in x])
    found = squared_distances(x, y)
    torch.testing.assert_close(found, naive)
    weights = torch.randn(4, 6, dtype=torch.float64)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), [x, y]), torch.autograd.grad((naive * weights).sum(), [x, y])
    )


def test_distances_far_from_the_origin() -> None:
    """In float32 x² − 2xy + y² alone would be wrong by more than the distances."""
    torch.manual_seed(0)
    x = torch.randn(20, 64)
    torch.testing.assert_close(squared_distances(x + 1e4, x + 1e4), squared_distances(x, x), rtol=1e-2, atol=1e-2)
    assert (squared_distances(x + 1e4, x + 1e4) >= 0).all()


def test_distances_of_half_precision_are_taken_in_float32() -> None:
    torch.manual_seed(0)
    x = torch.randn(8, 16)
    with torch.autocast("cpu", torch.bfloat16):
        inside = squared_distances(x, x)
    assert torch.equal(inside, squared_distances(x, x))
    assert squared_distances(x.bfloat16(), x.bfloat16()).dtype == torch.float32
    exact = squared_distances(x.bfloat16().double(), x.bfloat16().double())
    torch.testing.assert_close(squared_distances(x.bfloat16(), x.bfloat16()).double(), exact, rtol=1e-5, atol=1e-5)


def test_kernel_and_its_gradient_equal_the_formula() -> None:
    torch.manual_seed(0)
    x = torch.randn(7, 4, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(7, 7, dtype=torch.float64)
    found, naive = multi_gaussian(x), naive_kernel(x)
    torch.testing.assert_close(found, naive)
    torch.testing.assert_close(
        torch.autograd.grad((found * weights).sum(), x), torch.autograd.grad((naive * weights).sum(), x)
    )


def test_one_gaussian() -> None:
    assert float(gaussian(torch.tensor(3.0), 0.92**2)) == pytest.approx(math.exp(-3 / (2 * 0.92**2)))


@pytest.mark.parametrize("scale", [1e-6, 1e-3, 1e3, 1e6])
def test_kernel_does_not_depend_on_the_scale_of_the_features(scale: float) -> None:
    torch.manual_seed(0)
    x = torch.randn(9, 5)
    torch.testing.assert_close(multi_gaussian(scale * x), multi_gaussian(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("value", [0.0, 1.0, -3e4])
def test_kernel_of_equal_samples_has_no_gradient(value: float) -> None:
    x = torch.full((6, 3), value, requires_grad=True)
    kernel = multi_gaussian(x)
    torch.testing.assert_close(kernel, torch.full((6, 6), 5.0))
    (grad,) = torch.autograd.grad(kernel[0].sum(), x)
    assert torch.equal(grad, torch.zeros_like(grad))


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_quadratic_estimate_equals_the_formula(n: int, m: int) -> None:
    torch.manual_seed(0)
    kernel = multi_gaussian(torch.randn(n + m, 3, dtype=torch.float64))
    assert float(mmd(kernel, n, "quadratic")) == pytest.approx(unbiased(kernel, n))


@pytest.mark.parametrize(("n", "m"), SIZES)
def test_linear_estimate_equals_the_formula(n: int, m: int) -> None:
    torch.manual_seed(0)
    kernel = multi_gaussian(torch.randn(n + m, 3, dtype=torch.float64))
    expected = 0.0
    for i in range(max(n, m)):
        s1, s2, t1, t2 = i % n, (i + 1) % n, n + i % m, n + (i + 1) % m
        expected += float(kernel[s1, s2] + kernel[t1, t2] - kernel[s1, t2] - kernel[s2, t1]) / max(n, m)
    assert float(mmd(kernel, n, "linear")) == pytest.approx(expected)


@pytest.mark.parametrize(("n", "m"), [(3, 3), (4, 3), (2, 5)])
def test_linear_estimate_is_unbiased_whatever_the_batch_sizes(n: int, m: int) -> None:
    """Over all orders of the samples its mean is the unbiased estimate from all pairs."""
    torch.manual_seed(0)
    kernel = multi_gaussian(torch.randn(n + m, 2, dtype=torch.float64))
    estimates = [
        float(mmd(kernel[order][:, order], n, "linear"))
        for s in itertools.permutations(range(n))
        for t in itertools.permutations(range(n, n + m))
        for order in [[*s, *t]]
    ]
    assert sum(estimates) / len(estimates) == pytest.approx(unbiased(kernel, n))


def test_identical_domains_have_no_discrepancy() -> None:
    torch.manual_seed(0)
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    same, shuffled, twice = torch.cat([x, x]), torch.cat([x, x[torch.randperm(6)]]), torch.cat([x, x, x])
    zero = torch.zeros((), dtype=torch.float64)
    for samples in (same, shuffled):  # twice (mean of the pairs − mean with the diagonal), 5 on it
        pairs = multi_gaussian(samples)[:6, :6]
        expected = 2 * ((pairs.sum() - 30) / 30 - pairs.mean())
        torch.testing.assert_close(mmd(multi_gaussian(samples), 6, "quadratic"), expected)
    for samples in (same, twice):
        torch.testing.assert_close(mmd(multi_gaussian(samples), 6, "linear"), zero)
    fixed = x.detach()
    (grad,) = torch.autograd.grad(mmd(multi_gaussian(torch.cat([x, fixed])), 6, "linear"), x)
    torch.testing.assert_close(grad, torch.zeros_like(grad))


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_quadratic_estimate_has_no_bias_in_small_batches(shift: float) -> None:
    """Means over batches of five agree with one of all; with each sample paired with itself they were .4 too large."""
    random = torch.Generator().manual_seed(0)
    source, target = (torch.randn(300, 2, generator=random, dtype=torch.float64) for _ in range(2))
    target += shift
    kernel = torch.exp(-squared_distances(torch.cat([source, target]), torch.cat([source, target])))
    small = []
    for start in range(0, 300, 5):
        rows = [*range(start, start + 5), *range(300 + start, 305 + start)]
        small.append(float(mmd(kernel[rows][:, rows], 5, "quadratic")))
    assert sum(small) / len(small) == pytest.approx(float(mmd(kernel, 300, "quadratic")), abs=0.03)
