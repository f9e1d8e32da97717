"""CLIP models of open_clip, as ``clip:NAME`` (the extra ``clip``)."""

import difflib
import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from uan_da.errors import UserError


def clip_backbone(name: str) -> Callable[..., nn.Module]:
    """Any CLIP of open_clip, to the embeddings of images that it compares with text (needs the extra ``clip``).

    Args:
        name: the name after ``clip:``: ``ViT-B-16``, ``ViT-B-16-quickgelu``, ``RN50``.

    Raises:
        UserError: open_clip is not installed, or has no such model.
    """
    open_clip = _import_open_clip()
    if name not in open_clip.list_models():
        near = difflib.get_close_matches(name, open_clip.list_models(), n=3)
        hint = f"did you mean: {', '.join(near)}" if near else "see open_clip.list_models()"
        raise UserError(f"open_clip {open_clip.__version__} has no model {name!r} ({hint})")

    def backbone(channels: int, *, text: bool = False) -> nn.Module:
        """``text`` keeps the text tower, for ``zero_shot`` and ``dapl``; it is then part of the run's weights."""
        if channels != 3:
            raise ValueError("CLIP sees colours: input.channels=3")
        network = _create(name, load_weights=False)
        if not text:
            visual: nn.Module = network.visual
            return visual
        if not isinstance(network, open_clip.CLIP):
            raise ValueError("its text tower is not CLIP's own, which zero_shot and dapl read: leave out backbone.text")
        network.forward = network.encode_image  # the whole model, so that its state dict is that of open_clip's files
        whole: nn.Module = network
        return whole

    return backbone


def published_weights(name: str, tag: str) -> dict[str, Tensor]:
    """The state dict of both towers of ``clip:NAME`` with the published weights ``tag``.

    Raises:
        UserError: there are none of that tag, they were trained with another activation, or they cannot be downloaded.
    """
    open_clip = _import_open_clip()
    tags = open_clip.list_pretrained_tags_by_model(name)
    if tag not in tags:
        raise UserError(
            f"backbone.weights={tag}: open_clip names the weights of {name} by a tag: "
            f"{', '.join(tags) or 'there are none'}; or none, or the path of a file"
        )
    quick, trained_quick = (bool(config.get("quick_gelu")) for config in _configs(name, tag))
    if trained_quick and not quick:
        raise UserError(f"backbone.weights={tag} were trained with QuickGELU: backbone=clip:{name}-quickgelu")
    try:
        with torch.random.fork_rng(devices=[]):
            network = _create(name, pretrained=tag)
    except Exception as error:  # of urllib, httpx, huggingface_hub or open_clip, by where the weights are
        config = _configs(name, tag)[1]
        place = config.get("hf_hub") or config.get("url") or "no known place"
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(
            f"the weights {tag} of clip:{name} ({place}) cannot be had: {reason}. Where there is no network, copy "
            f"their file here by hand and set backbone.weights=PATH"
        ) from error
    state: dict[str, Tensor] = network.state_dict()
    return state


def _create(name: str, **options: Any) -> Any:
    """A model of open_clip, which warns of random weights also where others follow."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        return _import_open_clip().create_model(name, **options)
    finally:
        logging.disable(before)


def _configs(name: str, tag: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What open_clip knows of the model, and of its weights."""
    open_clip = _import_open_clip()
    return open_clip.get_model_config(name) or {}, open_clip.get_pretrained_cfg(name, tag) or {}


def _import_open_clip() -> Any:
    try:
        import open_clip
    except ImportError as error:
        raise UserError("backbones clip:NAME need open_clip: pip install 'uan-da[clip]'") from error
    return open_clip
