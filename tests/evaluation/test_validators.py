"""Every validator against its paper's formula, written another way, and on degenerate inputs."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import entropy as scipy_entropy
from sklearn.metrics import pairwise_distances, silhouette_samples
from sklearn.neighbors import NearestNeighbors

from uan_da.evaluation.evidence import READS, reads
from uan_da.evaluation.mixtures import Mixtures
from uan_da.evaluation.predict import Predictions
from uan_da.evaluation.validators.confidence import bnm, diversity, entropy, information_maximization, mano
from uan_da.evaluation.validators.consistency import circular, mixval
from uan_da.evaluation.validators.neighbors import knn, nearest_source
from uan_da.evaluation.validators.source_risk import dev, importance_weighted, source_accuracy
from uan_da.evaluation.validators.structure import class_ami, class_clustering, rankme, snd
from uan_da.names import VALIDATORS

ON_TARGET = [entropy, diversity, information_maximization, bnm, snd, class_clustering, class_ami, mano, rankme]


def test_all_say_what_they_read():
    for name in VALIDATORS.targets:
        assert set(reads(VALIDATORS.load(name))) <= set(READS)


@pytest.mark.parametrize("seed", range(3))
def test_entropies_are_scipys(make, seed):
    target = make(seed=seed)
    p = target.probabilities.numpy()
    assert entropy(target) == pytest.approx(-scipy_entropy(p, axis=1).mean(), rel=1e-5)
    assert diversity(target) == pytest.approx(scipy_entropy(p.mean(0)), rel=1e-5)
    mutual = np.mean([scipy_entropy(row, p.mean(0)) for row in p])  # IM is the mean divergence from the mean
    assert information_maximization(target) == pytest.approx(mutual, rel=1e-4)


def test_bnm_is_the_sum_of_singular_values(make):
    target = make()
    values = np.linalg.svd(target.probabilities.numpy(), compute_uv=False)
    assert bnm(target) == pytest.approx(values.sum() / 60, rel=1e-5)


def test_bnm_is_largest_where_sure_and_even(make):
    even, one_sided = torch.eye(4).repeat(5, 1), torch.eye(4)[[0]].repeat(20, 1)
    features, labels = torch.zeros(20, 2), torch.zeros(20, dtype=torch.long)
    sure = [Predictions(features, 50 * p, labels) for p in (even, one_sided)]
    assert bnm(sure[0]) == pytest.approx(math.sqrt(20 * 4) / 20, rel=1e-4)
    assert bnm(sure[0]) > bnm(sure[1]) == pytest.approx(math.sqrt(20) / 20, rel=1e-4)


def test_snd_is_the_plain_loop(make):
    target = make(n=20)
    p = target.probabilities.double().numpy()
    p /= np.linalg.norm(p, axis=1, keepdims=True)
    entropies = []
    for i in range(20):
        similarity = np.array([p[i] @ p[j] for j in range(20) if j != i]) / 0.05
        q = np.exp(similarity - similarity.max())
        entropies.append(scipy_entropy(q / q.sum()))
    assert snd(target) == pytest.approx(np.mean(entropies), rel=1e-4)


def test_snd_of_two_sure_groups_is_the_log_of_their_other_members():
    logits = 100 * torch.eye(2).repeat_interleave(5, 0)
    target = Predictions(torch.zeros(10, 2), logits, torch.full((10,), -1))
    assert snd(target) == pytest.approx(math.log(4), rel=1e-4)


def test_class_clustering_is_the_silhouette_by_hand(make):
    target = make(n=40, classes=3)
    x = torch.nn.functional.normalize(target.features, dim=1).double().numpy()
    classes, distances, scores = target.classes.numpy(), pairwise_distances(x), []
    for i in range(40):
        same = (classes == classes[i]) & (np.arange(40) != i)
        a = distances[i][same].mean() if same.any() else None
        b = min(distances[i][classes == c].mean() for c in np.unique(classes) if c != classes[i])
        scores.append((b - a) / max(a, b) if a is not None else 0.0)
    assert class_clustering(target) == pytest.approx(np.mean(scores), rel=1e-4)
    assert silhouette_samples(x, classes) == pytest.approx(scores, abs=1e-6)


def test_class_ami_is_one_where_features_cluster_by_predicted_class():
    classes = torch.arange(3).repeat_interleave(10)
    features = 10 * torch.eye(3)[classes] + 0.1 * torch.randn(30, 3, generator=torch.Generator().manual_seed(0))
    target = Predictions(features, 5 * torch.eye(3)[classes], torch.full((30,), -1))
    assert class_ami(target) == pytest.approx(1.0)
    mixed = Predictions(features, 5 * torch.eye(3)[classes.view(3, 10).T.flatten()], target.labels)
    assert abs(class_ami(mixed)) < 0.2


@pytest.mark.parametrize("seed", range(3))
def test_mano_is_the_plain_loop(make, seed):
    target, total, sure = make(seed=seed, spread=3.0), 0.0, 0.0
    for row in target.logits.double().numpy():
        series = [1 + z + z**2 / 2 for z in row]
        v = [value - min(series) for value in series]
        total += sum((value / sum(v)) ** 4 for value in v)
        sure += sum((math.exp(z) / sum(math.exp(other) for other in row)) ** 4 for z in row)
    assert mano(target) == pytest.approx((total / target.logits.numel()) ** 0.25)
    assert mano(target, scaling="softmax") == pytest.approx((sure / target.logits.numel()) ** 0.25)


def test_mano_of_logits_worked_by_hand():
    """t(z) = 1 + z + z²/2 of (2, 0, −1) is (5, 1, ½); less its least (4½, ½, 0), and normalised (.9, .1, 0)."""
    logits = torch.tensor([[2.0, 0.0, -1.0]])
    assert mano(Predictions(logits, logits, torch.tensor([-1])), order=2.0) == pytest.approx(math.sqrt(0.82 / 3))


def test_mano_does_not_jump_while_logits_grow(make):
    """Φ passes 5 on the way; the score rises in steps that get smaller with the steps of the logits."""
    target = make(classes=10)
    scores = [mano(Predictions(target.features, s * target.logits, target.labels)) for s in np.linspace(1, 4, 61)]
    assert np.diff(scores).max() < 0.01


def test_rankme_is_the_exponential_of_the_spectrums_entropy(make):
    target = make(features=6)
    p = np.linalg.svd(target.features.double().numpy(), compute_uv=False)
    p = p / p.sum() + 1e-7
    assert rankme(target) == pytest.approx(math.exp(-(p * np.log(p)).sum()), rel=1e-6)
    flat = Predictions(torch.eye(5).repeat(4, 1), target.logits[:20], target.labels[:20])
    assert rankme(flat) == pytest.approx(5.0, rel=1e-4)


def test_nearest_source_is_the_plain_loop(make):
    target, source, total = make(n=30), make(n=25, seed=1), 0.0
    for p in target.probabilities.double().numpy():
        others = source.probabilities.double().numpy()
        nearest = max(range(25), key=lambda j: p @ others[j] / np.linalg.norm(p) / np.linalg.norm(others[j]))
        total += float(source.logits[nearest].argmax() == source.labels[nearest])
    assert nearest_source(target, source) == pytest.approx(total / 30)


def test_knn_is_scikit_learns_nearest_neighbour(make):
    source, target = make(n=50, seed=1), make(n=30)
    features = np.concatenate([source.features.numpy(), target.features.numpy()])
    domains = np.repeat([0, 1], [50, 30])
    nearest = NearestNeighbors(n_neighbors=2).fit(features).kneighbors(features, return_distance=False)[:, 1]
    own = domains[nearest] == domains
    assert knn(target, source) == pytest.approx(-(own[:50].mean() + own[50:].mean()) / 2)


def test_knn_tells_domains_apart(make):
    source, target = make(n=1200, seed=1), make(n=40)
    apart = Predictions(target.features + 100, target.logits, target.labels)
    assert knn(apart, source) == -1.0
    assert -1.0 < knn(target, make(n=40, seed=1)) < -0.3


def test_the_equally_near_count_as_their_mean():
    """Half of the source images that a target image is like are right."""
    logits, labels = torch.tensor([[3.0, 0.0], [3.0, 0.0], [0.0, 3.0]]), torch.tensor([0, 1, 0])
    source = Predictions(torch.zeros(3, 2), logits, labels)
    assert nearest_source(Predictions(torch.zeros(4, 2), logits[:1].repeat(4, 1), -torch.ones(4).long()), source) == 0.5


def test_circular_is_the_balanced_accuracy_of_what_the_target_teaches():
    """Two groups of the target; the source's are at the same places, one of its four images is elsewhere."""
    places, sides = torch.tensor([[0.0, 0.0], [4.0, 4.0]]), torch.arange(2).repeat(10)
    noise = 0.1 * torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    target = Predictions(places[sides] + noise, 5 * torch.eye(2)[sides], torch.full((20,), -1))
    source = Predictions(places[[0, 0, 1, 0]], torch.zeros(4, 2), torch.tensor([0, 0, 1, 1]))
    assert circular(target, source) == pytest.approx((1.0 + 0.5) / 2)
    exchanged = Predictions(target.features, target.logits.flip(1), target.labels)
    assert circular(exchanged, source) == pytest.approx((0.0 + 0.5) / 2)


def test_circular_of_one_class_is_its_recall(make):
    target = Predictions(torch.randn(9, 2), torch.tensor([[1.0, 0.0, 0.0]]).repeat(9, 1), torch.full((9,), -1))
    source = Predictions(torch.zeros(4, 2), torch.zeros(4, 3), torch.tensor([0, 0, 1, 2]))
    assert circular(target, source) == pytest.approx(1 / 3)


def test_mixval_is_the_mean_of_the_two_kinds(make):
    within, between = make(n=40), make(n=25, seed=1)
    accuracy = [float((part.logits.argmax(1) == part.labels).double().mean()) for part in (within, between)]
    assert mixval(Mixtures(within, between)) == pytest.approx(sum(accuracy) / 2)
    assert mixval(Mixtures(within, between.of(torch.arange(0)))) == pytest.approx(accuracy[0] / 2)


def dev_risk(weights, losses):
    """The published estimate, in NumPy."""
    weighted = weights * losses
    covariance = np.cov(np.stack([weighted, weights]), ddof=1)[0][1]
    eta = -covariance / np.var(weights, ddof=1)
    return weighted.mean() + eta * weights.mean() - eta


def test_weighted_risks_are_the_published_estimates(make):
    source = make(n=50)
    weights = torch.rand(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64) * 2
    losses = -source.logits.double().log_softmax(1)[torch.arange(50), source.labels].numpy()
    assert dev(source, weights) == pytest.approx(-dev_risk(weights.numpy(), losses))
    errors = (source.logits.argmax(1) != source.labels).double().numpy()
    assert importance_weighted(source, weights) == pytest.approx(-(weights.numpy() * errors).mean())
    assert source_accuracy(source) == pytest.approx(1 - errors.mean())


def test_control_variate_has_less_variance_than_importance_weighting():
    random = np.random.default_rng(0)
    plain, controlled = [], []
    for _ in range(300):
        weights = torch.tensor(random.exponential(1.0, 100))
        logits = torch.tensor(random.normal(size=(100, 2)))
        source = Predictions(logits, logits, torch.zeros(100, dtype=torch.long))
        loss = torch.nn.functional.cross_entropy(logits, source.labels, reduction="none")
        plain.append(float((weights * loss).mean()))
        controlled.append(-dev(source, weights))
    assert np.mean(controlled) == pytest.approx(np.mean(plain), abs=0.02)
    assert np.var(controlled) < 0.6 * np.var(plain)


def test_equal_weights_are_the_plain_loss(make):
    source = make()
    loss = torch.nn.functional.cross_entropy(source.logits.double(), source.labels)
    assert dev(source, torch.ones(60, dtype=torch.float64)) == pytest.approx(-float(loss))


@pytest.mark.parametrize("validator", ON_TARGET, ids=lambda validator: validator.__name__)
@pytest.mark.parametrize(
    "case", ["one image", "one class", "uniform", "equal features", "huge logits", "one class in all"]
)
def test_degenerate_targets_have_a_finite_score(make, validator, case):
    target = make(n=1) if case == "one image" else make(n=30)
    features, logits = target.features, target.logits
    if case == "one class":
        logits = torch.tensor([[9.0, 0.0, 0.0, 0.0]]).repeat(30, 1)
    if case == "uniform":
        logits = torch.zeros(30, 4)
    if case == "equal features":
        features = torch.zeros(30, 8)
    if case == "huge logits":
        logits = 1e4 * logits
    if case == "one class in all":
        logits = torch.zeros(30, 1)
    masked = Predictions(features, logits, torch.full((len(logits),), -1))
    assert math.isfinite(validator(masked))


@pytest.mark.parametrize("validator", [source_accuracy, importance_weighted, dev, nearest_source, knn, circular])
@pytest.mark.parametrize("n", [1, 2, 30])
@pytest.mark.parametrize("features", ["own", "equal"])
def test_few_source_images_have_a_finite_score(make, validator, n, features):
    source = make(n=n)
    if features == "equal":
        source = Predictions(torch.zeros(n, 8), torch.zeros(n, 4), source.labels)
    given = dict.fromkeys(("target", "source_train", "source_validation"), source)
    given["importance"] = torch.ones(n, dtype=torch.float64)
    assert math.isfinite(validator(*(given[name] for name in reads(validator))))


def test_a_collapsed_classifier_is_the_worst_clustering(make):
    logits = torch.tensor([[9.0, 0.0]]).repeat(30, 1)
    assert class_clustering(Predictions(torch.randn(30, 4), logits, torch.full((30,), -1))) == -1.0
