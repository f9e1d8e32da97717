"""Whether adaptation helped, in words, from ``results.json`` and nothing else."""

from collections.abc import Mapping
from typing import Any


def verdict(results: Mapping[str, Any], target: str) -> str:
    """One line on the target: better than source-only on the same images, worse, or not clear."""
    gain = results["baseline"]["gain"]
    if not gain["n"]:
        return f"whether adaptation helped cannot be said: {target} has no labelled test image"
    low, high = gain["interval"]
    word = "helped" if low > 0 else "HURT (negative transfer)" if high < 0 else "made no clear difference"
    plain = results["baseline"]["selections"]["last"]["domains"][target]["accuracy"]
    adapted = results["selections"]["last"]["domains"][target]["accuracy"]
    return (
        f"adaptation {word}: {target} {100 * plain:.1f} (source_only) → {100 * adapted:.1f} ({results['method']}), "
        f"{points(gain)} on the same {gain['n']} images"
    )


def source_cost(results: Mapping[str, Any]) -> list[str]:
    """A line for each source on which adapting changed the accuracy clearly."""
    lines = []
    for name, gain in results["baseline"].get("source_gain", {}).items():
        if gain["n"] and (gain["interval"][1] < 0 or gain["interval"][0] > 0):
            word = "cost" if gain["gain"] < 0 else "also helped"
            lines.append(f"adapting {word} the source {name}: {points(gain)}")
    return lines


def points(gain: Mapping[str, Any]) -> str:
    """A gain with its interval: ``+31.4 points [+25.5, +37.2]``."""
    low, high = gain["interval"]
    return f"{100 * gain['gain']:+.1f} points [{100 * low:+.1f}, {100 * high:+.1f}]"
