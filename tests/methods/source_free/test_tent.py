import copy

import pytest
import torch
from torch import nn

from uan_da.data.images import Images
from uan_da.errors import UserError
from uan_da.methods.source_free.tent import Tent
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import convert_norm
from uan_da.recipe.network import Input


def network(norm: str = "bn", **options: object) -> Classifier:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(8, 8, 3), nn.BatchNorm2d(8)]
    model = Classifier(nn.Sequential(*layers, nn.Flatten()), 128, 5)
    convert_norm(model, norm, **options)
    return model


def target(count: int = 40, domain: int = 1) -> Target:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = Images(pixels, torch.full((count,), -1))
    return Target(images, Input(size=8), domain, [], 0, torch.device("cpu"))


def mean_entropy(model: Classifier, images: Target) -> float:
    p = images.predict(model).logits.double().softmax(1)
    return -sum(float(q * q.log()) for row in p for q in row) / len(p)


def test_one_step_is_adam_on_the_gradient_of_the_mean_entropy() -> None:
    model, images = network().double(), target()
    expected = copy.deepcopy(model)
    bns = [layer for layer in expected.modules() if isinstance(layer, nn.BatchNorm2d)]
    ((_, x),) = images.batches(40, 0)

    class Doubled(Target):
        def batches(self, size, epoch, *, augmented=False):  # type: ignore[no-untyped-def]
            return ((indices, x.double()) for indices, x in super().batches(size, epoch, augmented=augmented))

    Tent(model, 5, lr=1e-3, batch=40).adapt(model, Doubled(**vars(images)))
    y = x.double()
    for layer in expected.backbone:  # type: ignore[union-attr]
        if isinstance(layer, nn.BatchNorm2d):
            mean, variance = y.mean((0, 2, 3), keepdim=True), y.var((0, 2, 3), correction=0, keepdim=True)
            y = (y - mean) / (variance + layer.eps).sqrt() * layer.weight.view(1, -1, 1, 1) + layer.bias.view(
                1, -1, 1, 1
            )
        elif not isinstance(layer, nn.Dropout):
            y = layer(y)
    p = expected.head(y).softmax(1)
    (-(p * p.log()).sum() / 40).backward()
    for bn, moved in zip(bns, (layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d)), strict=True):
        for old, new in ((bn.weight, moved.weight), (bn.bias, moved.bias)):
            assert old.grad is not None
            step = 1e-3 * old.grad / (old.grad.abs() + 1e-8)  # Adam's first step
            torch.testing.assert_close(new, old - step, rtol=1e-6, atol=1e-9)


NORMS = [
    ("bn", {}), ("uan", {}), ("uan", {"assignment": "element", "num_clusters": 3}), ("uan_paper", {}), ("dsbn", {}),
    ("dsbn", {"affine": "shared"}), ("transnorm", {}), ("gn", {}), ("ln", {}), ("ln_channel", {}), ("in", {}),
    ("mn", {}), ("alpha_bn", {}), ("cn", {}), ("acn", {}),
]  # fmt: skip


@pytest.mark.parametrize(("norm", "options"), NORMS)
def test_only_affine_parameters_and_running_statistics_move_and_entropy_falls(
    norm: str, options: dict[str, object]
) -> None:
    model, images = network(norm, **options), target()
    plain = copy.deepcopy(model)
    Tent(plain, 5, lr=1e-9).adapt(plain, images)
    Tent(model, 5, lr=1e-2, epochs=4).adapt(model, images)
    before, after = network(norm, **options).state_dict(), model.state_dict()
    moved = {name for name in after if not torch.equal(before[name], after[name])}
    parameters = {name for name, _ in model.named_parameters()} & moved
    assert parameters
    for name in parameters:
        layer, _, own = name.rpartition(".")
        assert own in ("weight", "bias")
        assert not isinstance(model.get_submodule(layer), nn.Conv2d | nn.Linear)
    assert all("running_" in name or "num_batches" in name for name in moved - parameters)
    assert not any(".branches.0." in name for name in moved)
    assert mean_entropy(model, images) < mean_entropy(plain, images)
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in model.parameters())


def test_the_same_seed_gives_the_same_bits() -> None:
    states = []
    for _ in range(2):
        model = network()
        Tent(model, 5, batch=16).adapt(model, target())
        states.append(model.state_dict())
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


@pytest.mark.parametrize("norm", ["in", "bn"])
def test_a_network_without_affine_parameters_is_refused_with_the_reason(norm: str) -> None:
    model = network()
    for layer in list(model.backbone):  # type: ignore[arg-type]
        if isinstance(layer, nn.BatchNorm2d):
            layer.affine = False
            layer.weight = layer.bias = None
    convert_norm(model, norm)
    with pytest.raises(UserError, match=r"affine parameters of norms .* no norm of this model has any"):
        Tent(model, 5).adapt(model, target())


def test_equal_images_leave_no_nan() -> None:
    images = target()
    equal = Images(torch.zeros_like(images.images.pixels), images.images.labels)  # type: ignore[attr-defined]
    model = network()
    Tent(model, 5).adapt(model, Target(equal, *list(vars(images).values())[1:]))
    assert all(bool(x.isfinite().all()) for x in model.state_dict().values())
