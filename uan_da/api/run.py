"""A trained run in Python: its numbers as tables, its predictions, and what one can do with it."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from uan_da.api.images import ImagesLike, predict_images
from uan_da.evaluation.deployed import Deployed
from uan_da.export.export import Exported, export_run
from uan_da.recipe import Recipe
from uan_da.streams.cells import stream_method
from uan_da.streams.online import adapt_online
from uan_da.training.adapt import adapt_run, default_folder, source_free_method
from uan_da.training.device import choose_device
from uan_da.training.evaluate_run import evaluate_run
from uan_da.training.run import Run as RunFolder
from uan_da.training.trained import Trained, confidence_table
from uan_da.trust import FILES, NOTHING, Trust

Checkpoint = Literal["last", "selected", "oracle"]


class Run:
    """A run folder that ``uan_da.train`` or ``uan-da train`` wrote.

    Example:
        >>> from uan_da import train
        >>> few = ["norm=bn", "train.epochs=1", "train.steps_per_epoch=1"]
        >>> _ = train("digits", few, out="runs/first", device="cpu", progress=False)
        >>> run = Run.load("runs/first")
        >>> run.classes[:3], run.metrics["epoch"].tolist()
        (('0', '1', '2'), [1])
    """

    def __init__(self, folder: Path | str, trust: Trust = NOTHING) -> None:
        self._run = RunFolder.open(folder, trust)

    @classmethod
    def load(cls, folder: Path | str, *, trust: bool = False) -> "Run":
        """The run in ``folder``; with ``trust``, code that its recipe names may run.

        Raises:
            UserError: ``folder`` is not a run folder.
        """
        return cls(folder, FILES if trust else NOTHING)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self._run.folder

    @property
    def recipe(self) -> Recipe:
        """The recipe that was trained, with every default."""
        return self._run.recipe

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of the classes, in the order of the network's outputs."""
        return self._run.record.classes

    @property
    def done(self) -> bool:
        """Whether the training is finished."""
        return self._run.done

    @property
    def results(self) -> dict[str, Any]:
        """The content of ``results.json``; a UserError if the run is not finished, or an adaptation."""
        return self._run.results

    @property
    def metrics(self) -> pd.DataFrame:
        """A row for each epoch: ``epoch``, ``step``, ``score``, and ``train.…``, ``domains.…``, ``validators.…``."""
        return pd.json_normalize(self._run.metrics())

    @property
    def accuracy(self) -> pd.DataFrame:
        """A row for each selection and domain: accuracy on its test images, with its 95 % interval."""
        rows = []
        for selection, chosen in self.results["selections"].items():
            for domain, numbers in (chosen or {"domains": {}})["domains"].items():
                low, high = numbers["interval"] or (None, None)
                own = [numbers[key] for key in ("role", "n", "accuracy")]
                rows.append([selection, domain, *own, low, high])
        return pd.DataFrame(rows, columns=["selection", "domain", "role", "n", "accuracy", "low", "high"])

    def evaluate(
        self,
        domains: Sequence[str] = (),
        *,
        checkpoint: Checkpoint = "last",
        split: Literal["train", "test"] = "test",
        recalibrate: Literal["none", "target"] | None = None,
        device: str = "auto",
    ) -> pd.DataFrame:
        """A row for each domain: role, n, accuracy, precision, recall, f1, nll, ece and the other numbers.

        Args:
            domains: domains of the data set, or ``DATASET:DOMAIN``; default: the domains of the task.
            checkpoint: the checkpoint to evaluate.
            split: the split whose images are evaluated.
            recalibrate: replaces the recipe's ``evaluation.recalibrate``.
            device: ``auto``, or a device of PyTorch.

        Raises:
            UserError: there is no such domain or checkpoint, or the data cannot be read.
        """
        report = evaluate_run(self._run, checkpoint, domains, device, split=split, recalibrate=recalibrate)
        plain = {
            name: {key: value for key, value in numbers.items() if not isinstance(value, list | dict)}
            for name, numbers in report["domains"].items()
        }
        return pd.DataFrame.from_dict(plain, orient="index").rename_axis("domain")

    def predict(self, images: ImagesLike, *, checkpoint: Checkpoint = "last", device: str = "auto") -> pd.DataFrame:
        """A row for each image: ``file`` (for an image in memory, its index), ``class``, ``confidence``.

        Raises:
            UserError: there is no image, or one cannot be read.
        """
        trained = self._trained(checkpoint, device)
        names, predictions = predict_images(trained, images)
        return confidence_table(names, predictions, trained.classes)

    def features(
        self, images: ImagesLike, *, checkpoint: Checkpoint = "last", device: str = "auto"
    ) -> NDArray[np.float32]:
        """The features of each image before the head, ``(N, F)``; raises as :meth:`predict` does."""
        found: NDArray[np.float32] = predict_images(self._trained(checkpoint, device), images)[1].features.numpy()
        return found

    def model(self, *, checkpoint: Checkpoint = "last", device: str = "cpu") -> Deployed:
        """The network as a module with its preprocessing: images to ``(logits, probabilities)``."""
        trained = self._trained(checkpoint, device)
        return Deployed(trained.model, trained.recipe.input, trained.domain)

    def adapt(
        self,
        images: Path | str,
        method: str,
        options: Iterable[str] = (),
        *,
        out: Path | str | None = None,
        checkpoint: Checkpoint = "last",
        device: str = "auto",
        overwrite: bool = False,
        online: bool = False,
        batch: int = 64,
    ) -> "Run":
        """A new run, adapted to unlabelled images without the source.

        Args:
            images: a folder, or ``domain:NAME`` of the run's data set.
            method: ``adabn``, ``uan``, ``tent``, ``shot``, ``nrc``, ``aad``, ``plue`` or ``lame``.
            options: options of the method, such as ``["method.lr=1e-4"]``.
            out: the new run folder; default: ``FOLDER-METHOD``.
            checkpoint: the checkpoint to adapt.
            device: ``auto``, or a device of PyTorch.
            overwrite: replace the run in ``out``.
            online: predict the images of a folder once, in the order of their paths, while adapting. ``method`` is
                then a stream method (``uan``, ``tent``), and ``predictions.csv`` in ``out`` has the predictions.
            batch: images per batch of ``online``.

        Raises:
            UserError: an image cannot be read, or the method cannot adapt this network.
        """
        common: dict[str, Any] = {"checkpoint": checkpoint, "device_name": device, "overwrite": overwrite}
        if online:
            stream = stream_method(method, list(options))
            folder = Path(out) if out is not None else default_folder(self._run, stream)
            adapt_online(self._run, Path(images), stream, folder, batch=batch, **common)
        else:
            chosen = source_free_method(method, options)
            folder = Path(out) if out is not None else default_folder(self._run, chosen)
            adapt_run(self._run, images, chosen, folder, **common)
        return Run(folder, self._run.trust)

    def export(
        self,
        out: Path | str,
        *,
        format: Literal["onnx", "pt2"] | None = None,
        checkpoint: Checkpoint = "last",
        overwrite: bool = False,
    ) -> Exported:
        """Write the network as a file that runs without this package, and its classes to a text file, one per line.

        The file takes float32 images ``(N, C, H, W)`` in [0, 1], RGB, resized to the recipe's ``input``, and returns
        ``logits`` and ``probabilities``. It is kept only if its output on real images agrees with PyTorch's.

        Args:
            out: the file, such as ``model.onnx``; the classes go to ``model.labels.txt``.
            format: ``onnx`` (needs the extra ``export``), or ``pt2`` for ``torch.export.load``; None: what ``out`` ends
                in.
            checkpoint: the checkpoint to export.
            overwrite: replace existing files.

        Returns:
            The two files, and the largest difference of a probability.

        Raises:
            UserError: ``out`` does not end like its format, exists or cannot be written, or a package is missing.
            Failure: the exporter cannot express the network, or the outputs differ.
        """
        return export_run(self._run, format, Path(out), checkpoint=checkpoint, overwrite=overwrite)

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r})"

    def _repr_html_(self) -> str:
        """In a notebook: what was trained, and its accuracy."""
        recipe = self.recipe
        facts = {"task": str(recipe.task), "method": recipe.method.name, "norm": recipe.norm.name}
        facts |= {"backbone": recipe.backbone.name, "seed": str(recipe.seed), "folder": str(self.folder)}
        head = pd.Series(facts).to_frame("run").to_html()
        if self._run.is_adaptation:
            return f"{head}<p>adapted to images without labels: no results</p>"
        if not self._run.done:
            return f"{head}<p>not finished: no results yet</p>"
        return head + self.accuracy.to_html(index=False, float_format="{:.3f}".format)

    def _trained(self, checkpoint: str, device: str) -> Trained:
        return Trained.load(self._run, checkpoint, choose_device(device))
