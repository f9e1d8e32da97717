"""The page around figures and tables."""

import os
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined


def write_page(path: Path, template: str, **content: Any) -> Path:
    """Render ``template`` to ``path``, in one piece; whatever comes from data or recipes is escaped."""
    loader = PackageLoader("uan_da.evaluation.report", "templates")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"percent": _percent, "number": _number}
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_text(environment.get_template(template).render(**content), encoding="utf-8")
    partial.replace(path)
    return path


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}f}"
