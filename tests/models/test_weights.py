from pathlib import Path

import pytest
import torch
from torch import nn

from uan_da.errors import UserError
from uan_da.models.digits_cnns import small_cnn
from uan_da.models.weights import load_weights


def saved(tmp_path: Path, state: dict) -> str:
    torch.save(state, tmp_path / "w.pth")
    return str(tmp_path / "w.pth")


def trained(channels: int = 3) -> nn.Module:
    """A network that no initialisation gives."""
    net = small_cnn(channels, width=2)
    for tensor in net.state_dict().values():
        tensor.add_(1)
    return net


def complaint(state: dict, tmp_path: Path) -> str:
    net = small_cnn(3, width=2)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(UserError) as caught:
        load_weights(net, "small_cnn", saved(tmp_path, state))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
    return str(caught.value)


def test_none_leaves_the_network_alone() -> None:
    net = small_cnn(3, width=2)
    before = net[0].weight.clone()
    load_weights(net, "small_cnn", "none")
    assert torch.equal(net[0].weight, before)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone."])
@pytest.mark.parametrize("head", ["fc.weight", "classifier.2.bias", "head.fc.weight", "_fc.weight"])
def test_prefixes_and_heads_are_left_out(tmp_path: Path, prefix: str, head: str) -> None:
    state = {prefix + name: tensor for name, tensor in {**trained().state_dict(), head: torch.ones(3)}.items()}
    net = small_cnn(3, width=2)
    load_weights(net, "small_cnn", saved(tmp_path, state))
    assert all(torch.equal(tensor, state[prefix + name]) for name, tensor in net.state_dict().items())


def test_half_precision_and_old_files_without_a_count_of_batches(tmp_path: Path) -> None:
    state = {n: t.half() for n, t in trained().state_dict().items() if not n.endswith("num_batches_tracked")}
    net = small_cnn(3, width=2)
    load_weights(net, "small_cnn", saved(tmp_path, state))
    assert net[0].weight.dtype == torch.float32
    assert torch.equal(net[0].weight, state["0.weight"].float())


def test_every_kind_of_misfit_is_listed_and_nothing_is_loaded(tmp_path: Path) -> None:
    state = trained().state_dict()
    state["layer9.weight"] = torch.ones(1)
    state["4.weight"] = torch.ones(4, 9, 3, 3)
    del state["0.weight"]
    message = complaint(state, tmp_path).splitlines()
    assert message[0].endswith("w.pth does not fit backbone 'small_cnn':")
    assert message[1:] == [
        "  1 missing: 0.weight",
        "  1 unexpected: layer9.weight",
        "  1 of another shape: 4.weight (4, 9, 3, 3), not (4, 2, 3, 3)",
    ]


def test_a_long_list_is_cut(tmp_path: Path) -> None:
    message = complaint({"other.weight": torch.ones(1)}, tmp_path)
    assert "15 missing: 0.weight" in message
    assert message.splitlines()[1].endswith("and 7 more")
    assert "1 unexpected: other.weight" in message


def test_colour_weights_of_a_grey_network_are_summed(tmp_path: Path) -> None:
    colour, grey = trained(3).eval(), small_cnn(1, width=2).eval()
    load_weights(grey, "small_cnn", saved(tmp_path, colour.state_dict()))
    images = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(grey(images), colour(images.expand(-1, 3, -1, -1)))


def test_grey_weights_do_not_fit_a_colour_network(tmp_path: Path) -> None:
    assert "0.weight (2, 1, 3, 3), not (2, 3, 3, 3)" in complaint(trained(1).state_dict(), tmp_path)


@pytest.mark.parametrize("weights", ["missing.pth", "some/folder/file", "~/no-such-file.safetensors"])
def test_a_file_that_is_not_there(weights: str) -> None:
    with pytest.raises(UserError, match="there is no such file"):
        load_weights(small_cnn(3), "small_cnn", weights)
