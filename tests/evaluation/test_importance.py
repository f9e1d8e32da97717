import torch
from scipy.stats import spearmanr

from uan_da.evaluation.importance import importance_weights


def test_weights_of_two_gaussians_follow_their_density_ratio():
    random = torch.Generator().manual_seed(0)
    source, target = torch.randn(2000, 2, generator=random), torch.randn(1000, 2, generator=random)
    target[:, 0] += 1.0
    found = importance_weights(source, target, source)
    exact = (source[:, 0] - 0.5).double().exp()  # N(1, 1)/N(0, 1)
    assert spearmanr(found, exact).statistic > 0.99
    assert abs(float(found.mean()) - 1.0) < 0.1
    assert float((found - exact).abs().median()) < 0.2


def test_equal_domains_have_weights_near_one():
    x = torch.randn(4000, 5, generator=torch.Generator().manual_seed(0))
    weights = importance_weights(x[::2], x[1::2], x[::2])
    assert float((weights - 1).abs().max()) < 0.4


def test_far_domains_and_few_images_have_finite_weights():
    far = importance_weights(torch.zeros(300, 2), torch.full((300, 2), 1e6), torch.zeros(3, 2))
    assert bool(far.isfinite().all())
    assert float(far.max()) < 0.1
    few = importance_weights(torch.zeros(1, 2), torch.ones(1, 2), torch.zeros(1, 2))
    assert bool(few.isfinite().all())
