"""What validators read, and their scores."""

import inspect
import math
from collections.abc import Callable
from functools import cached_property
from typing import Any, Self

import torch
from torch import Tensor

from uan_da.data.holdout import Part
from uan_da.data.images import ImageSet
from uan_da.data.task import Domain, Task
from uan_da.errors import UserError
from uan_da.evaluation.importance import importance_weights
from uan_da.evaluation.mixtures import Mixtures, predict_mixtures
from uan_da.evaluation.predict import NonFinitePredictions, Predictions, predict
from uan_da.models.classifier import Classifier
from uan_da.names import VALIDATORS, unknown
from uan_da.recipe.blocks import ValidatorBlock
from uan_da.seeding import generator

IMAGES = 2048
"""Of a larger set, validators see this many images, the same ones at every epoch."""
READS = ("target", "source_train", "source_validation", "importance", "mixtures")
COSTLY = "mixtures"
"""What takes forwards of its own. A validator that reads it scores a training where the recipe selects by it."""


class Evidence:
    """What a model predicts on the images that validators may see, computed when first asked for.

    Target labels are masked in all of it.

    Raises:
        NonFinitePredictions: a prediction is not finite; names the domain.
    """

    def __init__(self, model: Classifier, task: Task) -> None:
        self.model, self.task = model, task

    @cached_property
    def target(self) -> Predictions:
        """On the target's training images."""
        return self._predict(self.task.target, self.task.unlabelled(self.task.target))

    @cached_property
    def source_train(self) -> Predictions:
        """On the training images of all sources."""
        return Predictions.cat([self._predict(domain, domain.train) for domain in self.task.sources])

    @cached_property
    def source_validation(self) -> Predictions:
        """On the validation images of all sources; on their training images where ``selection.holdout`` is 0."""
        if any(domain.validation is None for domain in self.task.sources):
            return self.source_train
        parts = [(domain, domain.validation) for domain in self.task.sources]
        return Predictions.cat([self._predict(domain, images) for domain, images in parts if images is not None])

    @cached_property
    def importance(self) -> Tensor:
        """p_target/p_source at the source's validation images, float64 ``(N,)``."""
        return importance_weights(self.source_train.features, self.target.features, self.source_validation.features)

    @cached_property
    def mixtures(self) -> Mixtures:
        """On mixtures of the target's training images."""
        domain = self.task.target
        images = subset(self.task.unlabelled(domain), domain.name)
        try:
            return predict_mixtures(self.model, images, self.task.input, domain.index, self.target)
        except NonFinitePredictions as error:
            raise error.about(f"domain {domain.name!r}, mixtures of training images") from None

    def computed(self, chosen: ValidatorBlock) -> Self:
        """With all predictions there that :func:`all_scores` reads: several processes share the images, so that each
        must ask at the same time."""
        for name in ("target", "source_train", "source_validation", *reads(chosen.target)):
            getattr(self, name)
        return self

    def score(self, validator: Callable[..., Any], **options: Any) -> float | None:
        """What ``validator`` says of the model; None where that is not a finite number."""
        value = float(validator(*(getattr(self, name) for name in reads(validator)), **options))
        return value if math.isfinite(value) else None

    def _predict(self, domain: Domain, images: ImageSet) -> Predictions:
        try:
            return predict(self.model, subset(images, domain.name), self.task.input, domain.index)
        except NonFinitePredictions as error:
            raise error.about(f"domain {domain.name!r}, training images") from None


def subset(images: ImageSet, name: str) -> ImageSet:
    """The images at :func:`subset_indices`."""
    return images if len(images) <= IMAGES else Part(images, subset_indices(len(images), name))


def subset_indices(count: int, name: str) -> Tensor:
    """Of ``count`` images of the domain ``name`` all, or 2048 by a fixed random choice, in their order."""
    if count <= IMAGES:
        return torch.arange(count)
    return torch.randperm(count, generator=generator(0, "validators", name))[:IMAGES].sort().values


def reads(validator: Callable[..., Any]) -> list[str]:
    """The names of a validator's positional parameters: what it reads.

    Raises:
        UserError: :class:`Evidence` has nothing of that name.
    """
    parameters = inspect.signature(validator).parameters.values()
    names = [parameter.name for parameter in parameters if parameter.kind is not parameter.KEYWORD_ONLY]
    for name in names:
        if name not in READS:
            raise UserError(f"validator {validator.__name__!r}: {unknown('parameter', name, READS)}")
    return names


def all_scores(evidence: Evidence, chosen: ValidatorBlock) -> dict[str, float | None]:
    """The score by every validator at its defaults but the costly ones, and by the recipe's own with its options."""
    validators = {name: VALIDATORS.load(name) for name in VALIDATORS.targets}
    scores = {name: evidence.score(each) for name, each in validators.items() if COSTLY not in reads(each)}
    return scores | {chosen.name: evidence.score(chosen.target, **chosen.options)}


def check_validator(chosen: ValidatorBlock) -> None:
    """Try a validator on made-up predictions, before hours of training end with it.

    Raises:
        UserError: it reads what no validator can, fails, or gives no number.
    """
    random = generator(0, "a validator's trial")
    predictions = Predictions(
        torch.randn(24, 8, generator=random), torch.randn(24, 3, generator=random), torch.arange(24) % 3
    )
    evidence: dict[str, object] = dict.fromkeys(READS, predictions)
    evidence |= {"importance": torch.ones(24, dtype=torch.float64), "mixtures": Mixtures(predictions, predictions)}
    try:
        float(chosen(*(evidence[name] for name in reads(chosen.target))))
    except (TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise UserError(
            f"selection.validator: {chosen.name!r} is not a validator: expected a function of some of "
            f"{', '.join(READS)} that returns a number ({' '.join(str(error).split())})"
        ) from error
