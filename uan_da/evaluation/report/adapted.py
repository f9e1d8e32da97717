"""The report of a run that was adapted to images: what it did, and which conditions it found."""

from pathlib import Path
from typing import Any

import numpy as np

from uan_da.evaluation.report.page import data_uri, write_page
from uan_da.evaluation.verdict import points
from uan_da.files import read_json


def adapted_report(folder: Path) -> Path:
    """Write ``report.html`` from ``adapt.json`` and the images kept beside it."""
    report = read_json(folder / "adapt.json")
    shares = zip(report["classes"], report["before"]["class_shares"], report["after"]["class_shares"], strict=True)
    content = {
        "name": folder.name,
        "report": report,
        "gain": points(report["gain"]) if report["labelled"] else None,
        "classes": list(shares),
        "conditions": _conditions(folder, report["conditions"] or []),
        "scores": report.get("scores") or {},
    }
    return write_page(folder / "report.html", "adapted.html", **content)


def _conditions(folder: Path, found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The conditions with their example images as ``data:`` addresses, where those were kept."""
    if not found or not (folder / "adapt.npz").is_file():
        return [{**one, "pictures": []} for one in found]
    with np.load(folder / "adapt.npz") as images:
        return [
            {**one, "pictures": [data_uri(pixels) for pixels in images[f"condition/{number}"]]}
            for number, one in enumerate(found)
        ]
