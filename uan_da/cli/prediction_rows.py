"""Predictions as lines of text: CSV, or JSON."""

import csv
import io
import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from uan_da.spreadsheet import csv_cell

if TYPE_CHECKING:
    from uan_da.training.predict_files import Prediction


class PredictionFormat(StrEnum):
    """What is written of each image."""

    csv = "csv"
    jsonl = "jsonl"


class Rows:
    """Makes a line of each prediction.

    CSV: ``file``, ``class``, ``confidence``, then ``class_2``, ``confidence_2``, … up to the ``top`` classes,
    ``cluster:LAYER`` and ``feature_0``, …; the head comes with the first line. A text that a spreadsheet would take for
    a formula begins with an apostrophe. JSON Lines: an object each, with
    ``top``, ``clusters`` and ``features``, where they were asked for.
    """

    def __init__(self, kind: PredictionFormat, classes: Sequence[str], top: int, features: bool) -> None:
        self.kind, self.classes, self.features = kind, classes, features
        self.top = min(top, len(classes))
        self.headed = False

    def head(self) -> str:
        """Of a CSV without a line."""
        return "file,class,confidence\n" if self.kind == PredictionFormat.csv and not self.headed else ""

    def line(self, prediction: "Prediction") -> str:
        """The text of a prediction, its line's end included."""
        confidence, index = prediction.probabilities.double().topk(self.top)
        best = [
            (self.classes[i], round(share, 6)) for i, share in zip(index.tolist(), confidence.tolist(), strict=True)
        ]
        row: dict[str, Any] = {"file": str(prediction.file), "class": best[0][0], "confidence": best[0][1]}
        features = [round(value, 6) for value in prediction.features.tolist()] if self.features else []
        make = self._csv if self.kind == PredictionFormat.csv else self._json
        return make(row, best, prediction, features)

    def _json(self, row: dict[str, Any], best: Any, prediction: "Prediction", features: list[float]) -> str:
        if self.top > 1:
            row["top"] = [{"class": name, "confidence": share} for name, share in best]
        if prediction.clusters:
            row["clusters"] = prediction.clusters
        if features:
            row["features"] = features
        return json.dumps(row) + "\n"

    def _csv(self, row: dict[str, Any], best: Any, prediction: "Prediction", features: list[float]) -> str:
        for number, (name, share) in enumerate(best[1:], 2):
            row |= {f"class_{number}": name, f"confidence_{number}": share}
        row |= {f"cluster:{name}": cluster for name, cluster in prediction.clusters.items()}
        row |= {f"feature_{number}": value for number, value in enumerate(features)}
        text = io.StringIO()
        lines = csv.writer(text, lineterminator="\n")
        if not self.headed:
            lines.writerow(map(csv_cell, row))
            self.headed = True
        lines.writerow(map(csv_cell, row.values()))
        return text.getvalue()
