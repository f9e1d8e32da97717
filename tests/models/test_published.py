import hashlib
from pathlib import Path
from urllib.error import URLError

import pytest
import torch

from uan_da.errors import UserError
from uan_da.models.published import published_weights
from uan_da.models.torchvision_backbones import resnet18
from uan_da.models.weights import load_weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    return tmp_path / "checkpoints"


@pytest.mark.parametrize("name", ["default", "IMAGENET1K_V1", "ResNet18_Weights.IMAGENET1K_V1"])
def test_a_file_that_was_put_in_place_by_hand_is_used(cache: Path, name: str) -> None:
    cache.mkdir()
    state = {**resnet18(3).state_dict(), "fc.weight": torch.ones(1000, 512), "fc.bias": torch.ones(1000)}
    torch.save(state, cache / "resnet18-f37072fd.pth")
    net = resnet18(3)
    load_weights(net, "resnet18", name)
    assert torch.equal(net.conv1.weight, state["conv1.weight"])


def test_a_failed_download_says_where_the_file_belongs(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(url: str, *_: object, **__: object) -> None:
        raise URLError("Name or service not known")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(UserError) as caught:
        published_weights("resnet50", "IMAGENET1K_V1")
    message = str(caught.value)
    assert "https://download.pytorch.org/models/resnet50-0676ba61.pth cannot be downloaded" in message
    assert "Name or service not known" in message
    assert str(cache / "resnet50-0676ba61.pth") in message
    assert "backbone.weights=PATH" in message


def test_a_wrong_checksum_is_a_failed_download(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "page").write_bytes(b"<html>please log in</html>")
    download = torch.hub.download_url_to_file

    def local(_: str, *arguments: object, **options: object) -> None:
        download((tmp_path / "page").as_uri(), *arguments, **options)

    monkeypatch.setattr(torch.hub, "download_url_to_file", local)
    with pytest.raises(UserError, match=r"invalid hash value .*Put the file there by hand"):
        published_weights("resnet18", "default")
    assert not list(cache.iterdir())


def test_a_download_with_the_right_checksum_is_read(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.save({"conv1.weight": torch.ones(2)}, tmp_path / "file")
    checksum = hashlib.sha256((tmp_path / "file").read_bytes()).hexdigest()[:8]
    from torchvision import models

    class Known:
        __members__ = ("V1",)
        DEFAULT = type("Entry", (), {"url": f"https://host/net-{checksum}.pth"})

    download = torch.hub.download_url_to_file
    monkeypatch.setattr(models, "get_model_weights", lambda name: Known)
    monkeypatch.setattr(
        torch.hub,
        "download_url_to_file",
        lambda url, *rest, **options: download((tmp_path / "file").as_uri(), *rest, **options),
    )
    assert published_weights("resnet18", "default")["conv1.weight"].tolist() == [1, 1]
    assert [path.name for path in cache.iterdir()] == [f"net-{checksum}.pth"]


@pytest.mark.parametrize(
    ("backbone", "weights", "message"),
    [
        ("resnet50", "IMAGENET1K_V3", "did you mean 'IMAGENET1K_V"),
        ("resnet50", "defaults", "did you mean 'default'?"),
        ("resnet50", "None", "did you mean 'none'?"),
        ("lenet", "default", "no published weights of 'lenet' are known"),
        ("my_nets:net", "IMAGENET1K_V1", "no published weights of 'my_nets:net' are known"),
        ("timm:resnet18", "IMAGENET1K_V1", "timm names weights by a tag of the model"),
    ],
)
def test_names_that_do_not_exist(backbone: str, weights: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        published_weights(backbone, weights)
    assert message in str(caught.value)
