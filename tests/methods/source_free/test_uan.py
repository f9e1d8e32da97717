import pytest
import torch
from torch import nn

from uan_da.data.images import Images
from uan_da.errors import UserError
from uan_da.methods.source_free.adabn import AdaBN
from uan_da.methods.source_free.uan import UANAdaptation, _of_one_cluster
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import UAN, convert_norm
from uan_da.norms.uan.fit import fit_mixture
from uan_da.recipe.network import Input


def network(norm: str = "bn", **options: object) -> Classifier:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten()]
    model = Classifier(nn.Sequential(*layers), 64, 5)
    convert_norm(model, norm, **options)
    return model


def target(count: int = 64) -> Target:
    """Dark, pale images and bright, rich ones, in turn."""
    pixels = torch.randint(200, (count, 3, 8, 8), generator=torch.Generator().manual_seed(1))
    pixels[::2] = pixels[::2] // 8
    images = Images(pixels.to(torch.uint8), torch.full((count,), -1))
    return Target(images, Input(size=8), 1, [], 0, torch.device("cpu"))


def test_the_norms_become_uan_and_the_two_conditions_are_found() -> None:
    model, images = network(), target()
    method = UANAdaptation(model, 5, clusters=2)
    method.adapt(model, images)
    assert [type(m).__name__ for m in model.backbone.modules() if isinstance(m, UAN)] == ["UAN2d", "UAN2d"]
    assert method.norm == {"name": "uan", "num_clusters": 2, "sharpness": 30.0, "depth": 8}
    assert method.groups is not None
    first = method.groups[0]
    assert method.groups.tolist() == [int(first) if i % 2 == 0 else 1 - int(first) for i in range(64)]


def test_affine_and_weights_stay() -> None:
    model = network()
    with torch.no_grad():
        model.backbone[1].weight.copy_(torch.tensor([0.5, 1.0, 2.0, 3.0]))  # type: ignore[index]
    before = {name: value.clone() for name, value in model.named_parameters()}
    UANAdaptation(model, 5, clusters=4).adapt(model, target())
    after = dict(model.named_parameters())
    assert all(torch.equal(after[name], value) for name, value in before.items())


def test_one_cluster_is_adabn_on_one_batch() -> None:
    one, other, images = network(), network(), target()
    UANAdaptation(one, 5, clusters=1).adapt(one, images)
    AdaBN(other, 5, batch=64).adapt(other, images)
    torch.testing.assert_close(images.predict(one).logits, images.predict(other).logits, atol=2e-3, rtol=2e-3)


def test_the_number_of_clusters_is_that_of_the_most_informative_predictions() -> None:
    model, images = network(), target()
    method = UANAdaptation(model, 5)
    method.adapt(model, images)
    assert set(method.scores or {}) == {1, 2, 4, 8}  # 64 images: eight a cluster
    p = images.predict(model).logits.double().softmax(1)
    information = -(p.mean(0) * p.mean(0).log()).sum() + (p * p.log()).sum(1).mean()
    assert max((method.scores or {}).values()) == pytest.approx(float(information), abs=1e-5)


def test_of_many_images_some_serve_to_choose_the_clusters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uan_da.methods.source_free.uan.TRIAL", 32)
    model, images = network(), target()
    seen: list[int] = []
    monkeypatch.setattr(
        "uan_da.methods.source_free.uan.fit_mixture",
        lambda network, layers, batches, *rest: (
            seen.append(sum(map(len, batches()))) or fit_mixture(network, layers, batches, *rest)
        ),
    )
    method = UANAdaptation(model, 5)
    method.adapt(model, images)
    assert seen == [32, 32, 32, 32, 64]  # K = 1, 2, 4, 8; then the best of all images
    assert method.groups is not None
    assert len(method.groups) == 64


def test_a_network_with_uan_is_fitted_anew() -> None:
    model = network("uan", num_clusters=3)
    UANAdaptation(model, 5, clusters=2).adapt(model, target())
    assert {m.num_clusters for m in model.modules() if isinstance(m, UAN)} == {2}


def test_a_network_with_uan_starts_from_the_moments_of_all_its_clusters_together() -> None:
    """Its clusters are found in what its layers see, which the statistics of the source normalise."""
    model = network("uan", num_clusters=2)
    layer = model.backbone[1]
    layer.running_mean.copy_(torch.tensor([[0.0, 1.0, 2.0, 3.0], [4.0, 1.0, 0.0, 3.0]]))  # type: ignore[union-attr, operator]
    layer.running_var.copy_(torch.tensor([[1.0, 1.0, 2.0, 2.0], [3.0, 1.0, 4.0, 2.0]]))  # type: ignore[union-attr, operator]
    layer.prior_logits.data.copy_(torch.tensor([0.25, 0.75]).log())  # type: ignore[union-attr]
    one = _of_one_cluster(layer)  # type: ignore[arg-type]
    torch.testing.assert_close(one.running_mean[0], torch.tensor([3.0, 1.0, 0.5, 3.0]))  # type: ignore[index]
    # the variance within, and that of the means: 0.25 · 0.75 · (difference of the means)²
    torch.testing.assert_close(one.running_var[0], torch.tensor([2.5 + 3.0, 1.0, 3.5 + 0.75, 2.0]))  # type: ignore[index]


@pytest.mark.parametrize(
    ("norm", "options", "words"),
    [
        ("gn", {}, "has none"),
        ("acn", {}, "has none"),
        ("dsbn", {}, "parts of DomainSpecificNorm; adabn"),
        ("transnorm", {}, "parts of TransNorm; adabn"),
        ("alpha_bn", {}, "parts of AlphaBatchNorm; adabn"),
        ("uan", {"shrink": 0.5}, r"has shrink=0\.5\. adabn"),
        ("uan_paper", {}, r"has assignment=element, scale=prior\. adabn"),
    ],
)
def test_what_it_cannot_adapt_is_refused(norm: str, options: dict[str, object], words: str) -> None:
    model = network(norm, **options)
    with pytest.raises(UserError, match=words):
        UANAdaptation(model, 5).adapt(model, target())


def test_more_clusters_than_images_are_refused() -> None:
    model = network()
    with pytest.raises(UserError, match="only 4 images"):
        UANAdaptation(model, 5, clusters=5).adapt(model, target(4))
