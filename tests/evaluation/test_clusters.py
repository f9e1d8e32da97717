import numpy as np
import pytest
import torch
from sklearn.metrics import mutual_info_score
from torch import nn

from uan_da.data.images import Images
from uan_da.data.task import Domain
from uan_da.evaluation.clusters import Activations, cluster_report, describe_layer, information
from uan_da.models.classifier import Classifier
from uan_da.norms import UAN2d
from uan_da.recipe.network import Input


def layer_of(tau: dict[str, torch.Tensor], mean: dict[str, torch.Tensor]) -> dict[str, Activations]:
    return {name: Activations([tau[name]], [mean[name]], [torch.ones_like(mean[name])]) for name in tau}


def halves(share: float, n: int = 40) -> torch.Tensor:
    """Responsibilities of which ``share`` are the first cluster's."""
    first = torch.arange(n) < round(share * n)
    return torch.stack([first.float(), (~first).float()], 1)


LABELS = {"a": np.arange(40) % 4, "b": np.arange(40) % 4}


def test_information_is_the_mutual_information_over_the_mean_entropy():
    random = np.random.default_rng(0)
    cluster, domain, label = random.integers(3, size=90), random.integers(2, size=90), random.integers(5, size=90)
    found = information(cluster, domain, label)
    mean_entropy = (mutual_info_score(cluster, cluster) + mutual_info_score(domain, domain)) / 2
    assert found["domain"] == pytest.approx(mutual_info_score(cluster, domain) / mean_entropy)
    assert information(cluster, domain, np.full(90, -1))["class"] is None


def test_clusters_that_are_the_domains():
    means = {"a": torch.zeros(40, 3), "b": torch.tensor([0.0, 5.0, -1.0]).repeat(40, 1)}
    found = describe_layer(layer_of({"a": halves(1.0), "b": halves(0.0)}, means), LABELS, ["a"])
    assert found["usage"] == {"a": [1.0, 0.0], "b": [0.0, 1.0]}
    assert found["clusters"] == {"domain": pytest.approx(1.0), "class": pytest.approx(0.0)}
    assert found["baseline"]["domain"] == pytest.approx(1.0)
    assert [c["channel"] for c in found["channels"]] == [1, 2, 0]
    assert found["channels"][0]["difference"] == pytest.approx(5.0)  # all variance lies within the images: 1
    assert found["statement"].startswith("The clusters follow the domain: ")
    assert "as much as k-means" in found["statement"]
    assert {e["domain"] for e in found["examples"][0]} == {"a"}
    assert [e["row"] for e in found["examples"][1]][:2] == [0, 5]


def test_clusters_that_are_the_classes():
    of_class = torch.tensor(LABELS["a"] < 2)
    tau = torch.stack([of_class.float(), (~of_class).float()], 1)
    means = {name: torch.randn(40, 3, generator=torch.Generator().manual_seed(0)) for name in "ab"}
    found = describe_layer(layer_of({"a": tau, "b": tau}, means), LABELS, ["a"])
    assert found["clusters"]["domain"] == pytest.approx(0.0)
    assert found["clusters"]["class"] > 0.5
    assert found["statement"].startswith("The clusters do not follow the domain")


def test_a_collapsed_layer_says_so():
    means = {name: torch.zeros(40, 3) for name in "ab"}
    found = describe_layer(layer_of({"a": halves(1.0), "b": halves(1.0)}, means), LABELS, ["a"])
    assert found["statement"] == "Only one cluster is in use."
    assert found["clusters"]["domain"] == 0.0
    assert found["examples"][1] == []


def small_model(**options: object) -> Classifier:
    torch.manual_seed(0)
    return Classifier(
        nn.Sequential(nn.Conv2d(1, 4, 3), UAN2d(4, **options), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4, 2
    )  # type: ignore[arg-type]


@pytest.mark.parametrize("assignment", ["sample", "element"])
def test_the_report_of_a_model(assignment: str) -> None:
    random = torch.Generator().manual_seed(0)
    images = {
        "a": Images(torch.randint(0, 60, (20, 1, 8, 8), generator=random).byte(), torch.arange(20) % 2),
        "b": Images(torch.randint(190, 250, (12, 1, 8, 8), generator=random).byte(), torch.full((12,), -1)),
    }
    domains = [Domain(n, r, i, images[n], images[n]) for i, (n, r) in enumerate({"a": "source", "b": "target"}.items())]  # type: ignore[arg-type]
    model = small_model(assignment=assignment, backend="reference")
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (layer,) = cluster_report(lambda domain: model, domains, images, Input(size=8, channels=1))
    assert layer["layer"] == "backbone.1"
    assert {name: pytest.approx(1.0) for name in "ab"} == {name: sum(use) for name, use in layer["usage"].items()}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not model.backbone[1]._forward_pre_hooks


def test_a_model_without_clusters_has_no_layer():
    images = {"a": Images(torch.zeros(3, 1, 8, 8, dtype=torch.uint8), torch.zeros(3, dtype=torch.long))}
    model = Classifier(
        nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten()), 4, 2
    )
    domain = Domain("a", "source", 0, images["a"], images["a"])
    assert cluster_report(lambda domain: model, [domain], images, Input(size=8, channels=1)) == []
