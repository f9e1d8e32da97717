"""The card of a folder of images that has none."""

from pathlib import Path
from typing import Any

from uan_da.data.card import Card
from uan_da.data.image_files import SUFFIXES, list_images
from uan_da.errors import UserError
from uan_da.recipe.source import dump_yaml

LAYOUTS = {
    "classes": "{domain}/{class}",
    "splits": "{domain}/{split}/{class}",
    "images": "{domain}/images/{class}",
    "flat": "{domain}",
}


def card_of_folder(folder: Path) -> Card:
    """The card of ``<domain>/<class>/*``, found by looking.

    A domain may also be ``<domain>/train/<class>/*`` with ``<domain>/test/<class>/*``, ``<domain>/images/<class>/*`` as
    in Office-31, or ``<domain>/*``: images without labels.

    Raises:
        UserError: there are no such domains in it.
    """
    found = {path.name: _layout(path) for path in sorted(_folders(folder)) if any(list_images(path))}
    if not found:
        raise UserError(f"{folder}: holds no images in folders; expected <domain>/<class>/*.jpg")
    if set(found.values()) == {"flat"}:
        raise UserError(
            f"{folder}: no domain has labels; expected <domain>/<class>/*.jpg, but found "
            f"{next(iter(found))}/*{_first_suffix(folder / next(iter(found)))}"
        )
    classes = sorted({name for domain, kind in found.items() for name in _classes(folder / domain, kind)})
    return Card.model_validate(
        {
            "description": f"Images in {folder}",
            "adapter": _adapter("classes"),
            "domains": {domain: _domain(kind) for domain, kind in found.items()},
            "classes": classes,
        }
    )


def _domain(kind: str) -> dict[str, Any]:
    return {} if kind == "classes" else {"adapter": _adapter(kind)}


def _adapter(kind: str) -> dict[str, Any]:
    return {"name": "folder", "layout": LAYOUTS[kind]}


def _layout(domain: Path) -> str:
    folders = {path.name for path in _folders(domain)}
    if not folders:
        return "flat"
    if folders == {"train", "test"}:
        return "splits"
    return "images" if folders == {"images"} and any(_folders(domain / "images")) else "classes"


def _classes(domain: Path, kind: str) -> set[str]:
    tops = {
        "classes": [domain],
        "splits": [domain / "train", domain / "test"],
        "images": [domain / "images"],
        "flat": [],
    }
    return {path.name for top in tops[kind] for path in _folders(top)}


def _folders(folder: Path) -> list[Path]:
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _first_suffix(folder: Path) -> str:
    return next(path.suffix for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES)


def write_card(folder: Path, path: Path) -> None:
    """Write the card of ``folder`` to ``path``, for its owner to fill in what cannot be found by looking."""
    card = card_of_folder(folder)
    found = card.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content: dict[str, Any] = {"schema": 1, "folder": str(folder.resolve())} | found
    for name, domain in content["domains"].items():
        content["domains"][name] = {"description": "", "licence": "unknown", "source": "unknown"} | domain
    path.write_text(f"# uan-da datasets show ./{path.name}\n{dump_yaml(content)}", encoding="utf-8")
