from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from uan_da.norms import convert_norm, domain_context, frozen_statistics, recalibrate
from uan_da.norms.baselines.dsbn import DomainSpecificNorm
from uan_da.norms.baselines.mixture import MixtureNorm
from uan_da.norms.norm import Norm

NORMS = [
    ("bn", {}),
    ("alpha_bn", {}),
    ("in", {"track_running_stats": True}),
    ("uan", {"num_clusters": 2, "sharpness": 1.0, "em_rate": 0.0}),
    ("uan", {"num_clusters": 1, "moments": "learned"}),
    ("uan_paper", {"em_rate": 0.0}),
    ("mn", {"fit_every": 1}),
    ("dsbn", {}),
    ("cn", {}),
    ("transnorm", {}),
]


def network(norm: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Conv2d(6, 4, 3),
        nn.BatchNorm2d(4),
    )
    convert_norm(model, norm, **options)
    with domain_context(model, torch.tensor([0] * 4 + [1] * 4)):  # past the first batch
        model(torch.randn(8, 3, 8, 8))
    return model


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_frozen_statistics_changes_nothing_but_the_output_is_that_of_training(
    norm: str, options: dict[str, object]
) -> None:
    model = network(norm, **options)
    model[3].eval()  # without the draw of the dropout
    x = torch.randn(8, 3, 8, 8) * 2 + 3
    before = state(model)
    with domain_context(model, torch.tensor([0] * 4 + [1] * 4)), frozen_statistics(model):
        free = frozen = model(x)
    assert frozen.requires_grad
    after = state(model)
    assert all(torch.equal(before[name], after[name]) for name in before)
    if norm != "mn":  # whose forward fits first, at this schedule
        with domain_context(model, torch.tensor([0] * 4 + [1] * 4)):
            free = model(x)
    torch.testing.assert_close(frozen, free)
    with domain_context(model, 1):
        model(x)
    assert any(not torch.equal(before[name], value) for name, value in state(model).items())


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_frozen_statistics_in_evaluation_is_evaluation(norm: str, options: dict[str, object]) -> None:
    model = network(norm, **options).eval()
    x = torch.randn(8, 3, 8, 8)
    with domain_context(model, 1):
        expected = model(x)
        with frozen_statistics(model), frozen_statistics(model):
            torch.testing.assert_close(model(x), expected)
        torch.testing.assert_close(model(x), expected)


def test_frozen_statistics_before_the_first_batch_starts_no_cluster() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    convert_norm(model, "uan")
    with frozen_statistics(model):
        model(torch.randn(4, 3, 2, 2) + 9)
    assert not model[0].initialized
    assert not model[0].mean.any()


def test_an_error_inside_leaves_nothing_frozen() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    with pytest.raises(RuntimeError), frozen_statistics(model):
        raise RuntimeError
    assert model[0].track_running_stats


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_recalibrate_touches_running_statistics_of_the_domain_only(norm: str, options: dict[str, object]) -> None:
    model = network(norm, **options)
    model[4].eval()
    before = state(model)
    modes = [module.training for module in model.modules()]
    batches = [torch.randn(8, 3, 8, 8) * 2 + 3 for _ in range(3)]
    assert recalibrate(model, batches, domain=1) == 2
    after = state(model)
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    counts = {"num_batches_tracked", "running_mean", "running_var", "running_mass"}
    assert {name.rsplit(".", 1)[-1] for name in changed} <= counts
    assert any("running_mean" in name for name in changed)
    assert not any("branches.0" in name for name in changed)
    assert [module.training for module in model.modules()] == modes
    assert all(getattr(module, "momentum", 0.1) == 0.1 for module in model.modules())


def average_moments(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    """Over the batches, of each batch's mean and unbiased variance."""
    means = [batch.mean((0, 2, 3)) for batch in batches]
    variances = [batch.var((0, 2, 3), correction=1) for batch in batches]
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


def instance_moments(batches: list[Tensor]) -> tuple[Tensor, Tensor]:
    means = [batch.mean((0, 2, 3)) for batch in batches]
    variances = [batch.var((2, 3), correction=1).mean(0) for batch in batches]
    return torch.stack(means).mean(0), torch.stack(variances).mean(0)


@pytest.mark.parametrize(
    ("norm", "options", "moments"),
    [
        ("bn", {}, average_moments),
        ("alpha_bn", {}, average_moments),
        ("uan", {"num_clusters": 1}, average_moments),
        ("mn", {"num_clusters": 1}, average_moments),
        ("in", {"track_running_stats": True}, instance_moments),
        ("dsbn", {}, average_moments),
        ("transnorm", {}, average_moments),
    ],
)
def test_recalibrate_is_the_average_over_the_batches(
    norm: str,
    options: dict[str, object],
    moments: Callable[[list[Tensor]], tuple[Tensor, Tensor]],
) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    convert_norm(model, norm, **options)
    with domain_context(model, 1):
        model(torch.randn(8, 3, 4, 4) - 9)  # to be forgotten
    batches = [torch.randn(8, 3, 4, 4) * scale + scale for scale in (1.0, 3.0, 0.5)]
    loader = [(batch, torch.zeros(8)) for batch in batches]
    assert recalibrate(model, loader, domain=1) == 1
    layer = next(module for module in [*model[0].modules()][::-1] if hasattr(module, "running_mean"))  # the target's
    mean, var = moments(batches)
    torch.testing.assert_close(layer.running_mean.reshape(3), mean)
    torch.testing.assert_close(layer.running_var.reshape(3), var)


def test_a_cluster_is_recalibrated_by_its_share_of_each_batch() -> None:
    """Two clusters far apart, each sample wholly in one of them."""
    model = nn.Sequential(nn.BatchNorm2d(1))
    convert_norm(model, "uan", num_clusters=2)
    with torch.no_grad():
        model[0].mean.copy_(torch.tensor([[-10.0], [10.0]]))
    near, far = torch.randn(6, 1, 4, 4) - 10, torch.randn(2, 1, 4, 4) + 10
    recalibrate(model, [torch.cat([near, far]), torch.cat([near[:2], far])])
    # steps are min(1, K·share): 1 and .5, then 1 and 1
    expected = torch.stack([(near.mean() + near[:2].mean()) / 2, far.mean()])[:, None]
    torch.testing.assert_close(model[0].running_mean, expected)


def test_all_layers_of_a_branch_are_of_its_domain() -> None:
    branches: list[nn.Module] = [nn.Sequential(nn.BatchNorm2d(3)) for _ in range(2)]
    assert recalibrate(DomainSpecificNorm(branches), [torch.randn(4, 3, 2, 2)], domain=1) == 1


def test_a_norm_without_running_statistics_is_not_counted() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.BatchNorm2d(4, track_running_stats=False))
    convert_norm(model, "gn", "first")
    assert recalibrate(model, [torch.randn(2, 3, 4, 4)]) == 0


def test_recalibrate_leaves_out_a_last_batch_of_one_image() -> None:
    model = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(3))
    assert recalibrate(model, [torch.randn(4, 3), torch.randn(1, 3)]) == 1
    assert model[1].num_batches_tracked == 1


def test_recalibrate_errors() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    with pytest.raises(ValueError, match="a loader without a batch"):
        recalibrate(model, [])
    convert_norm(model, "dsbn")
    with pytest.raises(ValueError, match=r"DomainSpecificNorm keeps statistics per domain.*domain="):
        recalibrate(model, [torch.randn(2, 3, 4, 4)])


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_an_error_leaves_the_statistics(norm: str, options: dict[str, object]) -> None:
    model = network(norm, **options)
    before = state(model)

    def broken() -> Iterator[Tensor]:
        yield torch.randn(8, 3, 8, 8)
        raise OSError("a damaged image")

    for loader, error in ((broken(), OSError), ([], ValueError), ([torch.randn(0, 3, 8, 8)], ValueError)):
        with pytest.raises(error):
            recalibrate(model, loader, domain=1)
        torch.testing.assert_close(state(model), before, rtol=0, atol=0)


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_an_empty_batch_does_not_count(norm: str, options: dict[str, object]) -> None:
    batches = [torch.randn(8, 3, 8, 8) for _ in range(2)]
    model, twin = network(norm, **options), network(norm, **options)
    recalibrate(model, [batches[0][:0], batches[0], batches[0][:0], batches[1]], domain=1)
    recalibrate(twin, batches, domain=1)
    torch.testing.assert_close(state(model), state(twin))


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_a_constant_target_gives_finite_statistics(norm: str, options: dict[str, object]) -> None:
    model = network(norm, **options)
    recalibrate(model, [torch.full((8, 3, 8, 8), 3.0)] * 2, domain=1)
    assert all(value.isfinite().all() for value in state(model).values())
    with domain_context(model.eval(), 1):
        assert model(torch.randn(4, 3, 8, 8)).isfinite().all()


def test_a_cluster_that_no_image_chooses_is_recalibrated_to_what_it_knows() -> None:
    layer = MixtureNorm(1, num_clusters=2)
    layer.mean.copy_(torch.tensor([[0.0], [1e4]]))
    layer.var.copy_(torch.tensor([[1.0], [4.0]]))
    layer.forwards_to_fit.fill_(100)
    recalibrate(nn.Sequential(layer), [torch.randn(8, 1, 4, 4) for _ in range(3)])
    torch.testing.assert_close(layer.running_mean[1], torch.tensor([1e4]))
    torch.testing.assert_close(layer.running_var[1], torch.tensor([4.0]))
    assert layer.running_mean[0].abs() < 1


class Centred(Norm):
    """A norm of one's own, whose running statistics are those of a BatchNorm inside it."""

    def __init__(self, bn: _BatchNorm) -> None:
        super().__init__(bn)
        self.statistics = nn.BatchNorm2d(bn.num_features, affine=False)

    def normalise(self, x: Tensor) -> Tensor:
        return self.statistics(x)  # type: ignore[no-any-return]


def test_the_statistics_inside_a_norm_of_ones_own_are_found() -> None:
    model = nn.Sequential(Centred(nn.BatchNorm2d(2)))
    x = torch.randn(6, 2, 4, 4, generator=torch.Generator().manual_seed(0)) + 3
    with frozen_statistics(model):
        model.train()(x)
    assert model[0].statistics.running_mean.tolist() == [0.0, 0.0]
    assert recalibrate(model, [x]) == 1
    torch.testing.assert_close(model[0].statistics.running_mean, x.mean((0, 2, 3)))
