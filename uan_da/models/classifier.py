"""The network that is trained: input norm, backbone, head."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from uan_da.norms import convert_norm
from uan_da.recipe import Recipe
from uan_da.seeding import fold


class Output(NamedTuple):
    """``features`` ``(N, F)`` and ``logits`` ``(N, number of classes)``."""

    features: Tensor
    logits: Tensor


class Classifier(nn.Module):
    """A backbone and a bottleneck to features ``(N, num_features)``, and a linear head to logits."""

    def __init__(self, backbone: nn.Module, num_features: int, num_classes: int) -> None:
        super().__init__()
        self.input_norm: nn.Module = nn.Identity()
        self.backbone = backbone
        self.bottleneck: nn.Module = nn.Identity()
        self.num_features = num_features
        self.num_classes = num_classes
        self.head = self.new_head()

    def new_head(self) -> nn.Module:
        """A freshly initialised head like the model's own, for methods that have a second one."""
        return nn.Linear(self.num_features, self.num_classes)

    def forward(self, images: Tensor) -> Output:
        """Images ``(N, C, H, W)`` to features and logits."""
        features = self.bottleneck(self.backbone(self.input_norm(images)))
        return Output(features, self.head(features))


def build_model(recipe: Recipe, num_classes: int) -> Classifier:
    """The recipe's classifier, freshly initialised from the recipe's seed, its norm in place."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(recipe.seed, "model"))
        backbone = recipe.backbone(recipe.input.channels)
        model = Classifier(backbone, _num_features(backbone, recipe), num_classes)
    norm = recipe.norm
    if norm.keys["input"] == "instance":
        model.input_norm = nn.InstanceNorm2d(recipe.input.channels)
    convert_norm(model, norm.target, where=norm.keys["where"], **norm.options)
    return model.to(memory_format=torch.channels_last)


@torch.no_grad()
def _num_features(backbone: nn.Module, recipe: Recipe) -> int:
    """The width of the backbone's features, measured on one blank image."""
    training = backbone.training
    blank = torch.zeros(1, recipe.input.channels, recipe.input.size, recipe.input.size)
    features: Tensor = backbone.eval()(blank)
    backbone.train(training)
    if features.dim() != 2:
        raise ValueError(f"backbone {recipe.backbone.name!r}: expected features (N, F), got {tuple(features.shape)}")
    return features.shape[1]
