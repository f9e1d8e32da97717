import pytest
import torch
from torch import nn

from uan_da.data.images import Images
from uan_da.errors import UserError
from uan_da.methods.source_free.adabn import AdaBN
from uan_da.methods.target import Target
from uan_da.models.classifier import Classifier
from uan_da.norms import convert_norm
from uan_da.recipe.network import Input


def network(norm: str = "bn") -> Classifier:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Flatten()]
    model = Classifier(nn.Sequential(*layers), 64, 5)
    convert_norm(model, norm)
    return model


def target(count: int = 20) -> Target:
    pixels = torch.randint(256, (count, 3, 8, 8), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    images = Images(pixels, torch.full((count,), -1))
    return Target(images, Input(size=8), 1, [], 0, torch.device("cpu"))


def test_one_batch_gives_the_exact_moments_of_every_layer() -> None:
    model, images = network(), target()
    AdaBN(model, 5, batch=256).adapt(model, images)
    x = (images.images.pixels / 255 - 0.5) / 0.5  # type: ignore[attr-defined]
    first = model.backbone[0](x).detach().double()  # type: ignore[index]
    for c in range(4):
        values = [float(v) for v in first[:, c].flatten()]
        mean = sum(values) / len(values)
        variance = sum((v - mean) ** 2 for v in values) / (len(values) - 1)
        assert float(model.backbone[1].running_mean[c]) == pytest.approx(mean, abs=1e-5)  # type: ignore[index]
        assert float(model.backbone[1].running_var[c]) == pytest.approx(variance, rel=1e-4)  # type: ignore[index]
    y = (first - first.mean((0, 2, 3), keepdim=True)) / (first.var((0, 2, 3), False, keepdim=True) + 1e-5).sqrt()
    second = model.backbone[3](y.float().relu()).detach()  # type: ignore[index]
    bn = model.backbone[4]  # type: ignore[index]
    torch.testing.assert_close(bn.running_mean, second.mean((0, 2, 3)), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(bn.running_var, second.var((0, 2, 3)), atol=1e-5, rtol=1e-4)


def test_several_batches_give_their_average() -> None:
    model, images = network(), target(21)  # a last image alone is left out
    AdaBN(model, 5, batch=5).adapt(model, images)
    firsts = [model.backbone[0](x).detach() for _, x in images.batches(5, 0)]  # type: ignore[index]
    assert len(firsts) == 4
    bn = model.backbone[1]  # type: ignore[index]
    torch.testing.assert_close(bn.running_mean, sum(x.mean((0, 2, 3)) for x in firsts) / 4)
    torch.testing.assert_close(bn.running_var, sum(x.var((0, 2, 3)) for x in firsts) / 4)


@pytest.mark.parametrize("norm", ["bn", "uan", "dsbn", "mn"])
def test_no_parameter_moves(norm: str) -> None:
    model = network(norm)
    before = {name: x.clone() for name, x in model.state_dict().items()}
    AdaBN(model, 5).adapt(model, target())
    moved = {name for name, x in model.state_dict().items() if not torch.equal(x, before[name])}
    assert moved
    assert all("running_" in name or "num_batches" in name for name in moved)
    if norm == "dsbn":
        assert all(".branches.1." in name for name in moved)
    assert model.training


def test_a_network_without_running_statistics_is_refused() -> None:
    model = network("gn")
    with pytest.raises(UserError, match="no norm of this model keeps any"):
        AdaBN(model, 5).adapt(model, target())


def test_one_image_is_refused() -> None:
    with pytest.raises(UserError, match="one image"):
        AdaBN(network(), 5).adapt(network(), target(1))
