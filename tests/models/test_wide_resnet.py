import torch
from torch import Tensor, nn
from torch.nn import functional as F

from uan_da.models.wide_resnet import wrn_28_2


def test_28_layers_and_the_published_number_of_parameters() -> None:
    net = wrn_28_2(3)
    count = sum(parameter.numel() for parameter in net.parameters()) + 128 * 10 + 10
    assert count == 1_467_610  # of WRN-28-2 for ten classes, in every port
    sizes = [module.kernel_size for module in net.modules() if isinstance(module, nn.Conv2d)]
    assert (sizes.count((3, 3)), sizes.count((1, 1))) == (25, 3)
    assert net(torch.randn(2, 3, 32, 32)).shape == (2, 128)


def naive(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """AdaMatch's network from its description, in evaluation."""

    def activated(x: Tensor, name: str) -> Tensor:
        mean, var = state[f"{name}.running_mean"], state[f"{name}.running_var"]
        y = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt()
        y = state[f"{name}.weight"][:, None, None] * y + state[f"{name}.bias"][:, None, None]
        return torch.where(y > 0, y, 0.1 * y)

    x = F.conv2d(x, state["0.weight"], padding=1)
    for block in range(1, 13):
        stride = 2 if block in (5, 9) else 1
        active = activated(x, f"{block}.norm1")
        y = F.conv2d(active, state[f"{block}.conv1.weight"], stride=stride, padding=1)
        y = F.conv2d(activated(y, f"{block}.norm2"), state[f"{block}.conv2.weight"], padding=1)
        if block == 1:
            x = active
        if block in (1, 5, 9):
            x = F.conv2d(x, state[f"{block}.shortcut.weight"], stride=stride)
        x = x + y
    return activated(x, "13").mean((2, 3))


def test_the_network_is_the_one_of_its_description() -> None:
    net = wrn_28_2(3).double()
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.3)
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    images = torch.randn(2, 3, 12, 12, dtype=torch.float64)
    with torch.no_grad():
        torch.testing.assert_close(net.eval()(images), naive(net.state_dict(), images))


def test_initial_weights_are_of_the_authors_scale() -> None:
    weight = wrn_28_2(3)[10].conv1.weight
    expected = (2 / (9 * 128)) ** 0.5
    assert abs(weight.std().item() / expected - 1) < 0.02
