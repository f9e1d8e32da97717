"""Clusters and moments fitted to images, against plain formulas."""

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor, nn

from uan_da.errors import UserError
from uan_da.norms import UAN, convert_norm
from uan_da.norms.uan.fit import fit_mixture


def network(clusters: int, depth: int = 1, sharpness: float = 100.0) -> tuple[nn.Sequential, list[UAN]]:
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.BatchNorm2d(5), nn.Flatten()
    ).eval()
    convert_norm(model, "uan", num_clusters=clusters, depth=depth, sharpness=sharpness)
    return model, [module for module in model if isinstance(module, UAN)]


def conditions(count: int = 60) -> tuple[Tensor, Tensor]:
    """Images under two conditions that differ in brightness and contrast, in turn."""
    which = torch.arange(count) % 2
    x = torch.randn(count, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return torch.where(which[:, None, None, None] == 0, x, 3.0 + 0.3 * x), which


@pytest.mark.parametrize("size", [7, 60])
def test_two_conditions_get_a_cluster_each_with_exact_moments(size: int) -> None:
    (model, layers), (x, which) = network(2), conditions()
    tau = fit_mixture(model, layers, lambda: x.split(size), 0.0, 0)
    cluster = tau.argmax(1)
    assert torch.equal(cluster, which) or torch.equal(cluster, 1 - which)
    with torch.no_grad():
        found = x
        for module in model[:-1]:
            if not isinstance(module, UAN):
                found = module(found)
                continue
            for k in (0, 1):
                own = found[cluster == k].double()
                torch.testing.assert_close(module.running_mean[k].double(), own.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)  # type: ignore[index]
                torch.testing.assert_close(
                    module.running_var[k].double(),  # type: ignore[index]
                    own.var((0, 2, 3), correction=0),
                    atol=1e-5,
                    rtol=1e-3,
                )
            found = module(found)


def test_one_cluster_is_batch_normalisation_by_all_images() -> None:
    (model, layers), (x, _) = network(1), conditions()
    fit_mixture(model, layers, lambda: x.split(16), 8.0, 0)
    plain, _ = network(1)
    convolutions = {name: value for name, value in plain.state_dict().items() if name[0] in "03"}
    batch = nn.Sequential(*[nn.BatchNorm2d(m.num_features) if isinstance(m, UAN) else m for m in plain]).train()
    batch.load_state_dict(convolutions, strict=False)
    torch.testing.assert_close(model(x), batch(x), atol=1e-4, rtol=1e-3)


def test_the_pseudo_count_shrinks_toward_all_images() -> None:
    (model, layers), (x, which) = network(2), conditions()
    tau = fit_mixture(model, layers, lambda: [x], 10.0, 0)
    seen = model[0](x).detach().double()
    k = int(tau[0].argmax())
    own, everything = seen[which == 0], seen
    mean = (30 * own.mean((0, 2, 3)) + 10 * everything.mean((0, 2, 3))) / 40
    second = (30 * own.square().mean((0, 2, 3)) + 10 * everything.square().mean((0, 2, 3))) / 40
    torch.testing.assert_close(layers[0].running_mean[k].double(), mean, atol=1e-5, rtol=1e-4)  # type: ignore[index]
    torch.testing.assert_close(layers[0].running_var[k].double(), second - mean.square(), atol=1e-5, rtol=1e-3)  # type: ignore[index]


def test_the_order_of_the_images_says_nothing() -> None:
    x, _ = conditions()
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(2))
    predictions = []
    for images in (x, x[order]):
        model, layers = network(2)
        fit_mixture(model, layers, lambda images=images: images.split(9), 2.0, 0)  # type: ignore[misc]
        predictions.append(model(x))
    torch.testing.assert_close(predictions[0], predictions[1], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("x", [torch.zeros(5, 3, 8, 8), torch.full((3, 3, 8, 8), 1e4)])
def test_equal_images_and_more_clusters_than_images_give_numbers(x: Tensor) -> None:
    model, layers = network(8, depth=2)
    tau = fit_mixture(model, layers, lambda: [x], 0.0, 0)
    assert torch.isfinite(tau).all()
    assert torch.isfinite(model(x)).all()
    assert torch.isfinite(model(torch.randn(4, 3, 8, 8))).all()


def test_the_moments_of_all_layers_take_one_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first layer sees what no part can change; the last sees images normalised by the moments of a part."""
    x, _ = conditions()
    found = []
    for pixels in (64 * 60, 64 * 20):
        monkeypatch.setattr("uan_da.norms.uan.fit.PIXELS", pixels)
        torch.manual_seed(0)
        convolutions = [nn.Sequential(nn.Conv2d(c, 4, 1), nn.BatchNorm2d(4), nn.ReLU()) for c in (3, 4, 4, 4)]
        model = nn.Sequential(*convolutions)
        convert_norm(model, "uan", num_clusters=2, depth=1)
        layers = [module for module in model.modules() if isinstance(module, UAN)]
        seen: list[int] = []
        model[3].register_forward_hook(lambda _, __, y, seen=seen: seen.append(len(y)))
        fit_mixture(model, layers, lambda: x.split(10), 4.0, 0)
        assert seen == [pixels // 64] * (64 * 60 // pixels)
        found.append(layers)
    torch.testing.assert_close(found[0][0].running_var, found[1][0].running_var, atol=1e-5, rtol=1e-5)
    whole, parts = (layers[3].running_mean for layers in found)
    assert whole is not None
    assert parts is not None
    torch.testing.assert_close(whole, parts, atol=0.1, rtol=0.1)
    assert not torch.equal(whole, parts)


def test_the_clusters_are_those_of_k_means_on_the_styles_in_front_of_the_layers_that_assign() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(2), nn.Conv2d(2, 6, 3), nn.BatchNorm2d(6))
    x, _ = conditions(40)
    x = x[:, :2]
    with torch.no_grad():
        seen = model[1](model[0].eval()(x))
    convert_norm(model, "uan", num_clusters=2, depth=2)
    layers = [module for module in model if isinstance(module, UAN)]
    styles = []
    for layer in (x.double(), seen.double()):
        style = torch.cat([layer.mean((2, 3)), layer.var((2, 3), correction=0).log()], 1)
        styles.append((style - style.mean(0)) / style.std(0, correction=0) / style.shape[1] ** 0.5)
    expected = KMeans(2, n_init=4, random_state=0).fit_predict(torch.cat(styles, 1).numpy())
    tau = fit_mixture(model, layers, lambda: x.split(7), 0.0, 0)
    assert tau.argmax(1).tolist() == expected.tolist()


def test_a_layer_has_the_moments_of_the_images_that_it_assigns_itself() -> None:
    """At this sharpness its τ is far from the one-hot clusters of k-means."""
    (model, layers), (x, _) = network(3, depth=2, sharpness=0.5), conditions()
    tau = fit_mixture(model, layers, lambda: [x], 0.0, 0)
    with torch.no_grad():
        seen = model[0](x)
        own = layers[0].responsibilities(seen).double()
    assert (own - tau).abs().amax() > 0.1
    mean_kc = own.T @ seen.double().mean((2, 3)) / own.sum(0)[:, None]
    second_kc = own.T @ seen.double().square().mean((2, 3)) / own.sum(0)[:, None]
    torch.testing.assert_close(layers[0].running_mean.double(), mean_kc, atol=1e-5, rtol=1e-4)  # type: ignore[union-attr]
    variance = second_kc - mean_kc.square()
    torch.testing.assert_close(layers[0].running_var.double(), variance, atol=1e-5, rtol=1e-3)  # type: ignore[union-attr]


class InOrder(nn.Module):
    """Norms that run in another order than they are defined in; one of them does not run, and one runs twice."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.last, self.unused, self.first = (nn.BatchNorm2d(3) for _ in range(3))
        self.convolution = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.last(self.convolution(self.first(x))))


def test_norms_that_do_not_run_as_they_are_defined() -> None:
    x, which = conditions()
    model = InOrder().eval()
    convert_norm(model, "uan", num_clusters=2, depth=8)
    layers = [module for module in model.modules() if isinstance(module, UAN)]
    tau = fit_mixture(model, layers, lambda: x.split(25), 0.0, 0)
    cluster = tau.argmax(1)
    assert torch.equal(cluster, which) or torch.equal(cluster, 1 - which)
    for k in (0, 1):
        mean = x[cluster == k].double().mean((0, 2, 3))
        torch.testing.assert_close(model.first.running_mean[k].double(), mean, atol=1e-5, rtol=1e-4)  # type: ignore[index]
    assert not torch.equal(model.last.running_mean[0], model.last.running_mean[1])  # type: ignore[index]
    assert torch.equal(model.unused.running_mean, torch.zeros(2, 3))  # type: ignore[arg-type]
    with pytest.raises(UserError, match="none of the first 1 norm layers runs"):
        fit_mixture(nn.Identity(), layers[:1], lambda: [x], 0.0, 0)


def test_an_error_of_the_network_is_not_swallowed() -> None:
    model, layers = network(2)
    with pytest.raises(RuntimeError, match="channels"):
        fit_mixture(model, layers, lambda: [torch.randn(4, 2, 8, 8)], 0.0, 0)
    assert not layers[0]._forward_pre_hooks
