"""The networks of RobustBench's files: names, shapes, and predictions by formulas of their own."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.errors import UserError
from uan_da.models.resnext29 import resnext29
from uan_da.models.weights import load_head
from uan_da.models.wrn_28_10 import wrn_28_10


def with_statistics(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
            module.running_mean.normal_(0, 0.1)  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return network.eval()


def norm_of(state: dict[str, Tensor]) -> Callable[[Tensor, str], Tensor]:
    def norm(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        return F.batch_norm(x, mean, var, state[f"{name}.weight"], state[f"{name}.bias"])

    return norm


def wide(state: dict[str, Tensor], x: Tensor) -> Tensor:
    norm = norm_of(state)
    x = F.conv2d(x, state["conv1.weight"], padding=1)
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        for block in range(4):
            name, step = f"block{stage}.layer.{block}", stride if block == 0 else 1
            active = F.relu(norm(x, f"{name}.bn1"))
            y = F.conv2d(active, state[f"{name}.conv1.weight"], stride=step, padding=1)
            y = F.conv2d(F.relu(norm(y, f"{name}.bn2")), state[f"{name}.conv2.weight"], padding=1)
            x = y + (F.conv2d(active, state[f"{name}.convShortcut.weight"], stride=step) if block == 0 else x)
    return F.relu(norm(x, "bn1")).mean((2, 3))


def grouped(state: dict[str, Tensor], x: Tensor) -> Tensor:
    norm = norm_of(state)
    x = F.relu(norm(F.conv2d(x, state["conv_1_3x3.weight"], padding=1), "bn_1"))
    for stage, stride in ((1, 1), (2, 2), (3, 2)):
        for block in range(3):
            name, step = f"stage_{stage}.{block}", stride if block == 0 else 1
            y = F.relu(norm(F.conv2d(x, state[f"{name}.conv_reduce.weight"]), f"{name}.bn_reduce"))
            y = F.conv2d(y, state[f"{name}.conv_conv.weight"], stride=step, padding=1, groups=4)
            y = F.conv2d(F.relu(norm(y, f"{name}.bn")), state[f"{name}.conv_expand.weight"])
            if block == 0:
                x = norm(F.conv2d(x, state[f"{name}.downsample.0.weight"], stride=step), f"{name}.downsample.1")
            x = F.relu(x + norm(y, f"{name}.bn_expand"))
    return x.mean((2, 3))


@pytest.mark.parametrize(
    ("build", "formula", "features", "classes", "parameters"),
    [(wrn_28_10, wide, 640, 10, 36_479_194), (resnext29, grouped, 1024, 100, 6_900_000)],
)
def test_the_network_is_the_one_of_its_description(
    build: Callable[[int], nn.Module],
    formula: Callable[[dict[str, Tensor], Tensor], Tensor],
    features: int,
    classes: int,
    parameters: int,
) -> None:
    network = with_statistics(build(3))
    count = sum(parameter.numel() for parameter in network.parameters()) + (features + 1) * classes
    assert count == pytest.approx(parameters, rel=0.0 if parameters % 1000 else 0.02)  # as published, exact or rounded
    images = torch.randn(2, 3, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(network(images), formula(network.state_dict(), images), rtol=1e-3, atol=1e-3)


def test_a_head_is_found_under_its_names_and_checked(tmp_path: Path) -> None:
    given, head, path = nn.Linear(5, 3), nn.Linear(5, 3), str(tmp_path / "net.pt")
    torch.save(
        {"module.conv.weight": torch.zeros(2, 2), **{f"module.fc.{n}": v for n, v in given.state_dict().items()}}, path
    )
    load_head(head, "small_cnn", path)
    torch.testing.assert_close(head.weight, given.weight)
    torch.testing.assert_close(head.bias, given.bias)
    with pytest.raises(UserError, match=r"fc\.weight is \(3, 5\).*\(4, 5\)"):
        load_head(nn.Linear(5, 4), "small_cnn", path)
    torch.save({"conv.weight": torch.zeros(2, 2)}, path)
    with pytest.raises(UserError, match="one linear classifier"):
        load_head(head, "small_cnn", path)
