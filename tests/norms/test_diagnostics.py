import math

import pytest
import torch
from torch import nn

from uan_da.norms import DeadClusterWarning, convert_norm, diagnose
from uan_da.norms.diagnostics import normalized_mutual_information


def test_nmi_by_hand() -> None:
    """Of H(a), H(b) and H(a, b)."""
    a, b = torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 0, 1])
    of_a, of_b, of_both = (
        -sum(p * math.log(p) for p in shares) for shares in ((0.5, 0.5), (0.75, 0.25), (0.5, 0.25, 0.25))
    )
    assert normalized_mutual_information(a, b) == pytest.approx(2 * (of_a + of_b - of_both) / (of_a + of_b))
    assert normalized_mutual_information(a, a) == pytest.approx(1.0)


def test_a_single_value_tells_nothing() -> None:
    one = torch.zeros(5, dtype=torch.long)
    for a, b in ((one, one), (one, torch.arange(5)), (torch.arange(5), one)):
        assert normalized_mutual_information(a, b) == 0.0


def two_domains() -> tuple[torch.Tensor, torch.Tensor]:
    x = torch.cat([torch.randn(12, 3, 4, 4) - 5, torch.randn(4, 3, 4, 4) + 5])
    return x, torch.tensor([0] * 12 + [1] * 4)


@pytest.mark.parametrize(
    ("norm", "options"),
    [("uan", {"num_clusters": 2}), ("uan", {"assignment": "element"}), ("mn", {"num_clusters": 2})],
)
def test_clusters_that_are_the_domains(norm: str, options: dict[str, object]) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Dropout(0.5))
    convert_norm(model, norm, **options)
    x, domain = two_domains()
    model(x)
    if norm == "uan":  # each channel has its own order of clusters at first, and they share one prior
        with torch.no_grad():
            model[0].mean.copy_(model[0].mean.sort(0).values)
    for _ in range(100):
        model(x)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (report,) = diagnose(model, x, domain)
    assert report.path == "0"
    assert report.nmi == pytest.approx(1.0, abs=0.01)
    torch.testing.assert_close(report.usage.sort().values, torch.tensor([0.25, 0.75]), atol=0.01, rtol=0)
    one = report.usage_by_label.round(decimals=1)
    assert torch.equal(one.sort(0).values, torch.tensor([[0.0, 0.0], [1.0, 1.0]]))
    assert str(report).startswith("0: usage 0.")
    assert str(report).endswith("nmi 1.00")
    assert model.training
    assert model[1].training
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert not model[0]._forward_pre_hooks


def test_without_labels_and_with_several_layers() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))
    convert_norm(model, "uan", num_clusters=3)
    x, _ = two_domains()
    model(x)
    for layer in (model[0], model[2]):  # all clusters in one place have equal shares
        nn.init.zeros_(layer.mean)
    reports = diagnose(model, x)
    assert [report.path for report in reports] == ["0", "2"]
    assert all(report.nmi is None and report.usage_by_label is None for report in reports)
    assert all(report.usage.sum().item() == pytest.approx(1.0) for report in reports)
    assert diagnose(nn.Conv2d(3, 4, 1), x) == []


@pytest.mark.parametrize("labels", [torch.zeros(3, dtype=torch.long), torch.tensor([-1] * 16)])
def test_bad_labels(labels: torch.Tensor) -> None:
    with pytest.raises(ValueError, match="`labels` to be 16 numbers from 0 on"):
        diagnose(nn.BatchNorm2d(3), two_domains()[0], labels)


def test_a_dead_cluster_is_told() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    convert_norm(model, "uan", num_clusters=2)
    x, _ = two_domains()
    model(x)
    with torch.no_grad():
        model[0].mean[1] = 1e4
    with pytest.warns(DeadClusterWarning, match=r"^0: of 2 clusters, number 1 gets less than 0\.1% of the batch"):
        diagnose(model, x)


def test_a_failing_forward_leaves_the_mode() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3))
    for images in (torch.randn(2, 5, 4, 4), torch.randn(0, 3, 4, 4)):
        with pytest.raises((RuntimeError, ValueError)):
            diagnose(model, images)
        assert model[0].training


def test_layers_that_assign_together_are_looked_at_in_their_order() -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    convert_norm(model, "uan", num_clusters=2, depth=1)
    images = torch.cat([torch.randn(8, 3, 6, 6), torch.randn(8, 3, 6, 6) * 4 + 6])
    model.train()
    for _ in range(20):
        model(images)
    first, second = diagnose(model, images, torch.arange(16) // 8)
    torch.testing.assert_close(first.usage_by_label, second.usage_by_label)
    assert first.nmi == second.nmi == pytest.approx(1.0)
