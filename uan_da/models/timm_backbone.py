"""Any model of timm, as ``timm:NAME`` (the extra ``timm``)."""

import difflib
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from uan_da.errors import UserError


def timm_backbone(name: str) -> Callable[[int], nn.Module]:
    """Any model of timm without its classifier, to the features that it pools (needs the extra ``timm``).

    Args:
        name: the name after ``timm:``, with or without the tag of its weights: ``resnet50``, ``resnet50.a1_in1k``.

    Raises:
        UserError: timm is not installed, or has no such model or tag.
    """
    timm = _import_timm()
    if not timm.is_model(name):
        near = difflib.get_close_matches(name, timm.list_models(), n=3)
        hint = f"did you mean: {', '.join(near)}" if near else "see timm.list_models()"
        raise UserError(f"timm {timm.__version__} has no model {name!r} ({hint})")
    try:
        timm.models.get_pretrained_cfg(name, allow_unregistered=False)
    except RuntimeError as error:
        tagged = timm.list_pretrained(name.partition(".")[0] + ".*")
        raise UserError(f"timm:{name}: {error} There are: {', '.join(tagged) or 'no weights of it'}") from error

    def backbone(channels: int) -> nn.Module:
        network: nn.Module = timm.create_model(name, num_classes=0, in_chans=channels)
        return network

    return backbone


def published_weights(name: str) -> dict[str, Tensor]:
    """The state dict of ``timm:NAME`` with the weights that its tag, or timm's default one, stands for.

    Raises:
        UserError: there are none, or they cannot be downloaded.
    """
    timm = _import_timm()
    try:
        with torch.random.fork_rng(devices=[]):
            network: nn.Module = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # of urllib, httpx, huggingface_hub or timm, by where the weights are
        config = timm.models.get_pretrained_cfg(name)
        place = getattr(config, "hf_hub_id", None) or getattr(config, "url", None) or "no known place"
        raise UserError(
            f"the weights of timm:{name} ({place}) cannot be had: {_first_line(error)}. Where there is no network, "
            f"copy their file here by hand and set backbone.weights=PATH"
        ) from error
    return network.state_dict()


def _import_timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise UserError("backbones timm:NAME need timm: pip install 'uan-da[timm]'") from error
    return timm


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
