"""A classifier of scikit-learn that adapts to an unlabelled domain."""

import json
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import check_random_state
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from uan_da.data.adapter import UNKNOWN
from uan_da.data.images import Images
from uan_da.data.task import target_index, task_of
from uan_da.errors import UserError
from uan_da.estimator.inputs import Inputs, inputs_of
from uan_da.evaluation.predict import predict
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.device import choose_device
from uan_da.training.training import Training
from uan_da.trust import TELLING

MASKED = -1
"""The label of a target row, as skada has it."""
Block = str | Mapping[str, Any]


class DomainAdaptationClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A network that learns classes from labelled source rows and adapts to unlabelled target rows.

    ``sample_domain`` separates them, as in skada: a positive number is a source, a negative one a target. If it is
    omitted, rows with the label −1 are the target. Labels of target rows are never read. Without target rows the
    method is ``source_only``, and all sources count as one.

    Args:
        method: a name, or a mapping with its options, such as ``{"name": "dann", "trade_off": 0.1}``.
        norm: a name, or a mapping with its options. None: for images the recipe's norm, for features BatchNorm, because
            UAN's clusters find the classes in the layers of a perceptron and normalise them away.
        backbone: a name, or a mapping with its options. None: for images the recipe's backbone, for features a
            perceptron.
        recipe: a recipe's name or file. Its input size, augmentations, optimizer and training length are used; ``X``
            replaces its data set and task.
        epochs: replaces the recipe's number of epochs.
        overrides: other changes to the recipe, such as ``["train.optimizer.lr=1e-4"]``.
        random_state: an int makes ``fit`` repeatable.
        device: ``auto``, or a device of PyTorch.

    Attributes:
        classes_: the labels of the source, sorted.
        model_: the trained network.
        recipe_: the recipe that was trained, with every default.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> y = rng.integers(0, 2, 80)
        >>> X = rng.normal(size=(80, 3)) + 3 * y[:, None]
        >>> domain = np.where(np.arange(80) < 40, 1, -2)
        >>> X[domain < 0] += 0.5
        >>> model = DomainAdaptationClassifier("dann", epochs=1, random_state=0, device="cpu")
        >>> model.fit(X, np.where(domain > 0, y, -1), sample_domain=domain).score(X, y) > 0.8
        True
    """

    __metadata_request__fit: ClassVar = {"sample_domain": True}
    __metadata_request__predict: ClassVar = {"sample_domain": True}
    __metadata_request__predict_proba: ClassVar = {"sample_domain": True}
    __metadata_request__score: ClassVar = {"sample_domain": True}

    def __init__(
        self,
        method: Block = "dann",
        norm: Block | None = None,
        backbone: Block | None = None,
        *,
        recipe: str = "digits",
        epochs: int | None = None,
        overrides: Sequence[str] = (),
        random_state: Any = None,
        device: str = "auto",
    ) -> None:
        self.method, self.norm, self.backbone = method, norm, backbone
        self.recipe, self.epochs, self.overrides = recipe, epochs, overrides
        self.random_state, self.device = random_state, device

    def fit(self, X: ArrayLike, y: ArrayLike, sample_domain: ArrayLike | None = None) -> Self:
        """Train on ``X``: images ``(N, H, W[, C])``, bytes or floats in [0, 1], or features ``(N, F)``.

        Args:
            X: the rows of all domains.
            y: labels ``(N,)``; those of target rows are not read.
            sample_domain: ``(N,)``, positive for a source, negative for the target.

        Raises:
            ValueError: an argument has the wrong shape or values, or the recipe cannot be trained.
        """
        rows, labels = validate_data(self, X, y, allow_nd=True)
        domains = _domains(labels, sample_domain)
        sources = domains > 0
        if not sources.any():
            raise ValueError("there is no source: every row is of the target")
        check_classification_targets(labels[sources])
        self.classes_, known = np.unique(labels[sources], return_inverse=True)
        codes = np.full(len(rows), UNKNOWN)
        codes[sources] = known
        if sources.all():
            domains = np.ones(len(rows), dtype=np.int64)
        inputs = inputs_of(rows)
        try:
            self._train(inputs, rows, codes, domains)
        except UserError as error:
            raise ValueError(str(error)) from error
        return self

    def _train(self, inputs: Inputs, rows: NDArray[Any], codes: NDArray[Any], domains: NDArray[np.int64]) -> None:
        numbers = sorted(set(domains[domains > 0].tolist()))
        adapts = bool((domains < 0).any())
        recipe = self._recipe(inputs, numbers, adapts)
        if isinstance(inputs.channels, int) and "strong" in recipe.method.target.views:
            raise UserError(f"method {recipe.method.name!r} reads strongly augmented images, and X holds features")

        def images(chosen: NDArray[np.bool_]) -> Images:
            return inputs.images(rows[chosen], torch.from_numpy(codes[chosen]), recipe.input)

        parts = [images(domains == number) for number in numbers] + ([images(domains < 0)] if adapts else [])
        device = choose_device(self.device)
        task = task_of(recipe, [str(name) for name in self.classes_], [part.to(device) for part in parts], device)
        with torch.random.fork_rng():
            training = Training.of(task, recipe, device, channels=inputs.channels)
            while training.step < training.total_steps:
                training.advance()
        self.recipe_, self.model_ = recipe, training.evaluated.eval()
        self._inputs, self._sources = inputs, numbers

    def _recipe(self, inputs: Inputs, sources: Sequence[int], adapts: bool) -> Recipe:
        names = "+".join(f"source{number}" for number in sources)
        features = isinstance(inputs.channels, int)
        backbone, norm = ("uan_da.models.mlp:mlp", "bn") if features else (None, None)
        chosen = {"method": self.method if adapts else "source_only", "norm": norm, "backbone": backbone}
        chosen |= {key: value for key, value in (("norm", self.norm), ("backbone", self.backbone)) if value is not None}
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        words = [f"{key}={_text(value)}" for key, value in chosen.items() if value is not None]
        words += [f"task={names}:target" if adapts else f"task={names}", "dataset=arrays", f"seed={seed}"]
        words += [f"train.epochs={self.epochs}"] if self.epochs is not None else []
        return load_recipe(self.recipe, [*words, *inputs.overrides, *self.overrides], TELLING)

    def predict(
        self, X: ArrayLike, sample_domain: ArrayLike | None = None, *, allow_source: bool = True
    ) -> NDArray[Any]:
        """The class of each row ``(N,)``; see :meth:`predict_proba`."""
        chosen = self.predict_proba(X, sample_domain).argmax(1)
        found: NDArray[Any] = self.classes_[chosen]
        return found

    def predict_proba(
        self, X: ArrayLike, sample_domain: ArrayLike | None = None, *, allow_source: bool = True
    ) -> NDArray[np.float64]:
        """The probability of each class, ``(N, classes)``, in the order of ``classes_``.

        Args:
            X: as in :meth:`fit`.
            sample_domain: the domain of each row, for norms with statistics per domain; default: the target.
            allow_source: has no effect; skada's scorers pass it. Source rows are always allowed.

        Raises:
            NotFittedError: before :meth:`fit`.
            ValueError: the rows of ``X`` have another shape than in training.
        """
        check_is_fitted(self, "model_")
        rows = validate_data(self, X, reset=False, allow_nd=True)
        indices = self._indices(len(rows), sample_domain)
        predictions = np.empty((len(rows), len(self.classes_)))
        for index in np.unique(indices):
            chosen = indices == index
            images = self._inputs.images(rows[chosen], torch.full((int(chosen.sum()),), UNKNOWN), self.recipe_.input)
            found = predict(self.model_, images, self.recipe_.input, int(index))
            predictions[chosen] = found.logits.double().softmax(1).numpy()
        return predictions

    def score(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        sample_domain: ArrayLike | None = None,
    ) -> float:
        """The accuracy: the share of rows whose predicted class is ``y``."""
        return float(accuracy_score(y, self.predict(X, sample_domain), sample_weight=sample_weight))

    def _indices(self, rows: int, sample_domain: ArrayLike | None) -> NDArray[np.int64]:
        """The index by which norms know each row's domain; that of a source of no training is the target's."""
        target = target_index(self.recipe_)
        if sample_domain is None:
            return np.full(rows, target)
        indices = {number: min(index, target) for index, number in enumerate(self._sources)}
        given = _checked(sample_domain)
        if len(given) != rows:
            raise ValueError(f"sample_domain has {len(given)} numbers, and X has {rows} rows")
        return np.array([indices.get(number, target) for number in given.tolist()], dtype=np.int64)


def _domains(labels: NDArray[Any], sample_domain: ArrayLike | None) -> NDArray[np.int64]:
    """The domain of each row: as given, or 1 of a labelled row and −2 of a masked one, as skada has it."""
    if sample_domain is not None:
        found = _checked(sample_domain)
        check_consistent_length(labels, found)
        return found
    numeric = np.issubdtype(labels.dtype, np.number)
    return np.where(labels == MASKED, -2, 1) if numeric else np.ones(len(labels), dtype=np.int64)


def _checked(sample_domain: ArrayLike) -> NDArray[np.int64]:
    given = column_or_1d(sample_domain)
    if not np.issubdtype(given.dtype, np.integer) or (given == 0).any():
        raise ValueError("Expected sample_domain to be integers, positive for a source and negative for a target")
    found: NDArray[np.int64] = given.astype(np.int64)
    return found


def _text(value: Block) -> str:
    return value if isinstance(value, str) else json.dumps(dict(value))
