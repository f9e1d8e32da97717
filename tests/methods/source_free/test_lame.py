import copy

import numpy as np
import pytest
import torch
from torch import nn

from uan_da.data.images import Images
from uan_da.methods.source_free.lame import LAME, Affinity, affinities, laplacian_adjusted
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.recipe.network import Input


def network() -> Classifier:
    torch.manual_seed(0)
    return Classifier(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten()), 8 * 36, 4)


def target(count: int = 24) -> Target:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = Images(pixels, torch.full((count,), -1))
    return Target(images, Input(size=8), 1, [], 0, torch.device("cpu"))


def naive_affinities(features: np.ndarray, kind: str, k: int) -> np.ndarray:
    n = len(features)
    unit = [f / np.sqrt((f * f).sum()) for f in features]
    distance = [[np.sqrt(((a - b) ** 2).sum()) for b in unit] for a in unit]
    w = np.zeros((n, n))
    width = np.mean([sorted(row)[min(k, n) - 1] for row in distance])
    for i in range(n):
        nearest = sorted((j for j in range(n) if j != i), key=lambda j: distance[i][j])[:k]
        for j in range(n):
            w[i, j] = {
                "knn": float(j in nearest),
                "rbf": np.exp(-(distance[i][j] ** 2) / (2 * width**2)),
                "linear": float(unit[i] @ unit[j]),
            }[kind]
    return w


def naive_lame(p: np.ndarray, w: np.ndarray, most: int = 100, tolerance: float = 1e-8) -> np.ndarray:
    """The iteration of the paper, image by image."""
    z, before = p.copy(), np.inf
    for iteration in range(most):
        energy, new = 0.0, np.zeros_like(z)
        for i in range(len(z)):
            pull = sum(w[i, j] * z[j] for j in range(len(z)))
            row = p[i] * np.exp(pull)
            new[i] = row / row.sum()
            energy += float((-np.log(p[i]) * new[i] - pull * new[i] + new[i] * np.log(new[i])).sum())
        z = new
        if iteration > 1 and abs(energy - before) <= tolerance * abs(before):
            break
        before = energy
    return z


def objective(z: np.ndarray, p: np.ndarray, w: np.ndarray) -> float:
    return float((z * np.log(z / p)).sum() - (w * (z @ z.T)).sum() / 2)


KINDS: list[Affinity] = ["knn", "rbf", "linear"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("n", "k"), [(30, 5), (30, 2), (4, 5), (2, 5)])
def test_affinities_against_loops(kind: Affinity, n: int, k: int) -> None:
    features = torch.randn(n, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(n + k))
    torch.testing.assert_close(
        affinities(features, kind, k), torch.from_numpy(naive_affinities(features.numpy(), kind, k))
    )


@pytest.mark.parametrize("kind", KINDS)
def test_the_predictions_are_the_fixed_point_of_the_paper(kind: Affinity) -> None:
    random = torch.Generator().manual_seed(3)
    features = torch.randn(20, 6, dtype=torch.float64, generator=random)
    log_p = torch.randn(20, 4, dtype=torch.float64, generator=random).log_softmax(1)
    w = affinities(features, kind, 3)
    z = laplacian_adjusted(log_p, w)
    torch.testing.assert_close(z.sum(1), torch.ones(20, dtype=torch.float64))
    p = log_p.exp().numpy()
    torch.testing.assert_close(z, torch.from_numpy(naive_lame(p, w.numpy())))
    converged = naive_lame(p, w.numpy(), most=500, tolerance=0.0)
    torch.testing.assert_close(z, torch.from_numpy(converged), rtol=0, atol=5e-3)


def test_the_objective_falls_for_a_symmetric_affinity() -> None:
    random = torch.Generator().manual_seed(4)
    features = torch.randn(20, 6, dtype=torch.float64, generator=random)
    log_p = torch.randn(20, 4, dtype=torch.float64, generator=random).log_softmax(1)
    w = affinities(features, "rbf", 3)
    p = log_p.exp().numpy()
    assert objective(laplacian_adjusted(log_p, w).numpy(), p, w.numpy()) < objective(p, p, w.numpy())


def test_without_affinity_the_predictions_are_the_models() -> None:
    log_p = torch.randn(6, 4, dtype=torch.float64).log_softmax(1)
    torch.testing.assert_close(laplacian_adjusted(log_p, torch.zeros(6, 6, dtype=torch.float64)), log_p.exp())


@pytest.mark.parametrize("kind", KINDS)
def test_ugly_batches(kind: Affinity) -> None:
    equal, zero, one = torch.ones(5, 3), torch.zeros(5, 3), torch.randn(1, 3)
    for features in (equal, zero, one):
        n = len(features)
        log_p = torch.full((n, 2), -200.0)
        log_p[:, 0] = 0.0
        z = laplacian_adjusted(log_p.double(), affinities(features.double(), kind, 5))
        assert bool(z.isfinite().all())
        torch.testing.assert_close(z[:, 0], torch.ones(n, dtype=torch.float64))


@pytest.mark.parametrize("batch", [1024, 10])
def test_the_model_stays_and_predictions_are_in_the_order_of_the_images(batch: int) -> None:
    model, images = network(), target()
    before = copy.deepcopy(model.state_dict())
    adjusted = LAME(model, 4, batch=batch).adapt(model, images)
    assert all(torch.equal(x, before[name]) for name, x in model.state_dict().items())
    features, logits = images.predict(model)
    for indices in images.order(0).split(batch):
        w = naive_affinities(features[indices].double().numpy(), "knn", 5)
        expected = naive_lame(logits[indices].double().softmax(1).numpy(), w)
        torch.testing.assert_close(adjusted[indices], torch.from_numpy(expected))


def test_one_image_is_predicted() -> None:
    adjusted = LAME(network(), 4).adapt(network(), target(1))
    torch.testing.assert_close(adjusted, target(1).predict(network()).logits.double().softmax(1))
