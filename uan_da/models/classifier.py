"""The network that is trained: input norm, backbone, bottleneck, head."""

import copy
import warnings
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from uan_da.errors import DataWarning, UserError
from uan_da.models.head import SourceHeads, make_bottleneck, make_head
from uan_da.models.rejection import THRESHOLD, Rejection
from uan_da.models.weights import load_weights
from uan_da.norms import convert_norm
from uan_da.recipe import Recipe
from uan_da.recipe.block import options_of
from uan_da.recipe.network import Bottleneck, Head
from uan_da.recipe.published_input import misfit
from uan_da.seeding import fold

LINEAR = Head()


class Output(NamedTuple):
    """``features`` ``(N, F)`` and ``logits`` ``(N, number of classes)``.

    In evaluation a network that rejects has one logit more, of ``unknown``, the last.
    """

    features: Tensor
    logits: Tensor


class Classifier(nn.Module):
    """A backbone and a bottleneck to features ``(N, num_features)``, and a head to logits.

    Args:
        backbone: images ``(N, C, H, W)`` to ``(N, backbone_features)``.
        backbone_features: their number.
        num_classes: of the head's logits.
        bottleneck: a module between backbone and head, or None.
        head: a linear layer alone, or with hidden layers.
    """

    def __init__(
        self,
        backbone: nn.Module,
        backbone_features: int,
        num_classes: int,
        bottleneck: Bottleneck | None = None,
        head: Head = LINEAR,
    ) -> None:
        super().__init__()
        self.input_norm: nn.Module = nn.Identity()
        self.backbone = backbone
        self.bottleneck = nn.Identity() if bottleneck is None else make_bottleneck(backbone_features, bottleneck)
        self.num_features = backbone_features if bottleneck is None else bottleneck.features
        self.num_classes = num_classes
        self._head_options = head
        self.head = self.new_head()
        self.class_names: tuple[str, ...] = ()
        """What a training calls its classes, for methods that read words."""
        self.domain_names: tuple[str, ...] = ()
        """What it calls its domains, in the order of their indices."""
        self.rejection: Rejection | None = None
        """Predicts ``unknown`` in evaluation, where the target has classes that the head has not."""
        self.autocast_dtype: torch.dtype | None = None
        """In training the network runs in this type, under autocast; its outputs are float32. None: as it is."""

    def new_head(self) -> nn.Module:
        """A freshly initialised head like the model's own, for methods that have a second one."""
        return make_head(self.num_features, self.num_classes, self._head_options)

    def with_head(self, head: nn.Module) -> Self:
        """The same network with ``head``, for methods that predict with another than they train; all else is shared."""
        other = copy.copy(self)
        other._modules = {**self._modules, "head": head}
        return other

    def forward(self, images: Tensor) -> Output:
        """Images ``(N, C, H, W)`` to features and logits."""
        if self.autocast_dtype is None or not self.training:
            return self._forward(images)
        with torch.autocast(images.device.type, self.autocast_dtype):
            features, logits = self._forward(images)
        return Output(features.float(), logits.float())

    def _forward(self, images: Tensor) -> Output:
        features = self.bottleneck(self.backbone(self.input_norm(images)))
        logits = self.head(features)
        if self.rejection is not None and not self.training:
            logits = torch.cat([logits, self.rejection(features, logits)[:, None]], 1)
        return Output(features, logits)


def build_model(
    recipe: Recipe, num_classes: int, *, pretrained: bool = True, channels: int | None = None
) -> Classifier:
    """The recipe's classifier: what is random is a function of the recipe's seed, and its norm is in place.

    Args:
        recipe: its ``input``, ``backbone``, ``bottleneck``, ``head``, ``norm`` and ``seed``.
        num_classes: of the predictions; where the recipe ``rejects``, ``unknown`` is the last of them.
        pretrained: whether ``backbone.weights`` are loaded. They need not be there where other weights follow.
        channels: of the images, where they are not the recipe's: features are images of one pixel.

    Raises:
        UserError: the backbone does not take the recipe's images, gives no features, or does not fit its weights or
            its norm, or the norm has fewer domains than the task.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(fold(recipe.seed, "model"))
        shape = (channels or recipe.input.channels, recipe.input.side, recipe.input.side)
        backbone = _build_backbone(recipe, shape[0])
        known = num_classes - recipe.rejects
        model = Classifier(backbone, _num_features(backbone, recipe, shape), known, recipe.bottleneck, recipe.head)
        if recipe.method.target.head_per_source:
            model.head = SourceHeads([model.new_head() for _ in recipe.task.sources])
        if recipe.classes is not None and recipe.rejects:
            threshold = recipe.classes.threshold or THRESHOLD
            model.rejection = recipe.method.target.rejection(model.num_features, known, threshold)
    if pretrained:
        load_weights(backbone, recipe.backbone.name, recipe.backbone.weights)
        if told := misfit(recipe.backbone.name, recipe.backbone.weights, recipe.input.model_dump()):
            warnings.warn(told, DataWarning, stacklevel=2)
    _put_norm(model, recipe)
    return model.to(memory_format=torch.channels_last)


def _build_backbone(recipe: Recipe, channels: int) -> nn.Module:
    try:
        built = recipe.backbone(channels)
    except (RuntimeError, ValueError) as error:
        options = ", ".join(f"backbone.{key}={value}" for key, value in recipe.backbone.options.items()) or "no options"
        raise UserError(f"backbone {recipe.backbone.name!r} cannot be built with {options}: {error}") from error
    if isinstance(built, nn.Module):
        return built
    raise UserError(
        f"backbone {recipe.backbone.name!r}: expected a torch.nn.Module from images (N, C, H, W) to features "
        f"(N, F), but got {type(built).__name__}"
    )


def _put_norm(model: Classifier, recipe: Recipe) -> None:
    """The recipe's norm in place of the backbone's; the BatchNorms of bottleneck and head stay."""
    norm, where, options = recipe.norm, recipe.norm.where, _norm_options(recipe)
    if norm.input == "instance":
        model.input_norm = nn.InstanceNorm2d(recipe.input.channels)
    if norm.name == "bn" and where == "all" and not options.get("sync"):
        return  # every norm is what it was, whatever it was
    place = model if where == "input" else nn.ModuleDict({"backbone": model.backbone})
    try:
        convert_norm(place, norm.target, where=where, **options)
    except ValueError as error:
        _check_options(recipe, options)
        raise UserError(
            f"norm {norm.name!r} in backbone {recipe.backbone.name!r}: {error}; norm=bn leaves a backbone as it is"
        ) from error


def _check_options(recipe: Recipe, options: dict[str, Any]) -> None:
    """UserError where the norm refuses its options for any BatchNorm, so that no backbone is to blame."""
    try:
        recipe.norm.target(nn.BatchNorm2d(8), **options)
    except ValueError as error:
        raise UserError(f"norm {recipe.norm.name!r}: {error}") from error


def _norm_options(recipe: Recipe) -> dict[str, Any]:
    """The options of the recipe's norm; where ``num_domains`` is at its default, it is the task's own number."""
    norm, options, needed = recipe.norm, dict(recipe.norm.options), len(recipe.task.domains)
    given = options.get("num_domains")
    if not isinstance(given, int) or given >= needed:
        return options
    if given != options_of(norm.target)["num_domains"].default:
        raise UserError(
            f"norm.num_domains={given}: the task {recipe.task} has {needed} domains, and its last sources would go the "
            f"target's way; leave num_domains out, and norm {norm.name!r} has as many as the task"
        )
    return {**options, "num_domains": needed}


@torch.no_grad()
def _num_features(backbone: nn.Module, recipe: Recipe, shape: tuple[int, int, int]) -> int:
    """The width of the backbone's features, measured on one blank image."""
    training = backbone.training
    try:
        features: Tensor = backbone.eval()(torch.zeros(1, *shape))
    except (RuntimeError, ValueError, AssertionError) as error:
        key = "size" if recipe.input.crop is None else "crop"
        raise UserError(
            f"input.{key}={recipe.input.side}: backbone {recipe.backbone.name!r} does not take images "
            f"{'×'.join(map(str, shape))}: {str(error).splitlines()[0] if str(error) else type(error).__name__}"
        ) from error
    backbone.train(training)
    if not isinstance(features, Tensor) or features.dim() != 2:
        got = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise UserError(f"backbone {recipe.backbone.name!r}: expected features (N, F), but got {got}")
    return features.shape[1]
