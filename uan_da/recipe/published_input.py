"""What published weights expect to see: the size of the images, and the mean and standard deviation of their values."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

TORCHVISION = ("resnet18", "resnet34", "resnet50", "resnet101", "vit_b_16", "convnext_tiny")
FILES = (".pt", ".pth", ".bin", ".ckpt", ".tar", ".safetensors")


@dataclass(frozen=True)
class PublishedInput:
    """``size`` is the side in pixels; ``mean`` and ``std`` are of R, G, B in [0, 1]."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]

    def keys(self, channels: int) -> dict[str, Any]:
        """A recipe's ``input``; of one channel, the mean over three."""
        both = {"mean": self.mean, "std": self.std}
        if channels == 1:
            return {"size": self.size} | {key: round(sum(of) / len(of), 4) for key, of in both.items()}
        return {"size": self.size} | {key: of[0] if len(set(of)) == 1 else list(of) for key, of in both.items()}


IMAGENET = PublishedInput(224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def published_input(backbone: str, weights: str) -> PublishedInput | None:
    """What ``weights`` of ``backbone`` expect; None of random ones, of a file's, and where it is not known."""
    if weights == "none" or "/" in weights or weights.endswith(FILES):
        return None
    if backbone == "efficientnet_lite0":
        return PublishedInput(224, (0.5,) * 3, (0.5,) * 3)
    if backbone in TORCHVISION:
        large = weights.endswith("SWAG_E2E_V1")
        return PublishedInput(384, IMAGENET.mean, IMAGENET.std) if large else IMAGENET
    family, _, name = backbone.partition(":")
    return _of_timm(name) if family == "timm" else _of_open_clip(name, weights) if family == "clip" else None


def _of_timm(name: str) -> PublishedInput | None:
    try:
        from timm.models import get_pretrained_cfg
    except ImportError:  # the backbone's own error says so
        return None
    config = get_pretrained_cfg(name)
    return None if config is None else PublishedInput(config.input_size[-1], config.mean, config.std)


def _of_open_clip(name: str, tag: str) -> PublishedInput | None:
    try:
        import open_clip
    except ImportError:  # the backbone's own error says so
        return None
    model, weights = open_clip.get_model_config(name), open_clip.get_pretrained_cfg(name, tag)
    if not model or not weights:
        return None
    return PublishedInput(model["vision_cfg"]["image_size"], tuple(weights["mean"]), tuple(weights["std"]))


def with_published_input(recipe: Mapping[str, Any]) -> Mapping[str, Any]:
    """A recipe as YAML has it; its backbone's published weights give the keys of ``input`` that it does not say."""
    backbone, said = recipe.get("backbone"), recipe.get("input") or {}
    if not isinstance(backbone, Mapping) or not isinstance(said, Mapping):
        return recipe
    name, weights = backbone.get("name"), backbone.get("weights", "none")
    found = published_input(name, weights) if isinstance(name, str) and isinstance(weights, str) else None
    if found is None:
        return recipe
    keys = found.keys(1 if said.get("channels") == 1 else 3)
    if "crop" in said:
        del keys["size"]
    return {**recipe, "input": {**keys, **said}}


def misfit(backbone: str, weights: str, given: Mapping[str, Any]) -> str:
    """In words: how the ``input`` of a recipe differs from what its weights expect; nothing where it does not, or by
    less than half of the size, which convolutions bear."""
    found = published_input(backbone, weights)
    if found is None:
        return ""
    expected, side = found.keys(given["channels"]), given.get("crop") or given["size"]
    different = [key for key in ("mean", "std") if _triple(given[key]) != _triple(expected[key])]
    told = [f"input.{key}={given[key]}, and expect {expected[key]}" for key in different]
    if 2 * side < found.size:
        told.append(f"images of {side} pixels, and expect {found.size}")
    return f"the weights {weights} of {backbone} get {'; '.join(told)}" if told else ""


def _triple(value: Any) -> tuple[float, ...]:
    return tuple(value) if isinstance(value, list | tuple) else (value,) * 3
