"""Where the numbers of a training can go beside its run folder: each is an optional extra, and off by default."""

from collections.abc import Mapping
from typing import Any


def scalars(row: Mapping[str, Any]) -> dict[str, float]:
    """``train/loss``, ``accuracy/DOMAIN``, ``h_score/DOMAIN``, ``validator/NAME``; what has no number is left out."""
    groups = {"train": row["train"], "accuracy": row["domains"], "validator": row["validators"]}
    groups["h_score"] = row.get("h_score", {})
    flat = {f"{group}/{name}": value for group, values in groups.items() for name, value in values.items()}
    return {name: value for name, value in flat.items() if value is not None} | {"epoch": row["epoch"]}
