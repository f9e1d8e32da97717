"""The card of a folder of images that has none."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from uan_da.data.card import Card
from uan_da.data.folder_layout import Layout, as_text, folders, layout_of
from uan_da.data.listing import list_images
from uan_da.data.split import usual_splits
from uan_da.data.table_layout import COLUMNS, Table, base_of, read_images_table, tables_in
from uan_da.errors import UserError
from uan_da.recipe.source import dump_yaml

EXPECTED = "expected <domain>/<class>/*.jpg, or a CSV table of images and labels"


def card_of_folder(folder: Path) -> Card:
    """The card of ``<domain>/<class>/*``, found by looking.

    A domain may also be ``<domain>/train/<class>/*`` with ``test`` or ``val``, ``<domain>/images/<class>/*`` as in
    Office-31, ``<domain>/*`` with a CSV table of labels in it, or ``<domain>/*`` alone: images without labels. One
    table for all lies beside the domains; its column ``domain``, or the first folder of its paths, tells the domains.

    Raises:
        UserError: there are no such domains in it, or a name or a table of it cannot be used.
    """
    found = {as_text(path): path for path in folders(folder).values() if list_images(path)}
    layouts: Mapping[str, Layout] = {name: layout_of(path) for name, path in found.items()}
    if found and usual_splits(found) and any(layout.classes for layout in layouts.values()):
        raise UserError(
            f"{folder}: its folders {', '.join(found)} are parts of one domain; put them into a folder of the domain's "
            f"name: expected <domain>/train/<class>/*.jpg"
        )
    if not any(len(layout.classes) > 1 for layout in layouts.values()):
        layouts = _of_tables(folder, layouts)
    if not layouts:
        raise UserError(f"{folder}: holds no images in folders; {EXPECTED}")
    classes = sorted({name for layout in layouts.values() for name in layout.classes}, key=_number_or_text)
    if not classes:
        first = next(iter(found))
        raise UserError(f"{folder}: no domain has labels; {EXPECTED}, but found {list_images(found[first])[0]}")
    return _card(folder, layouts, classes)


def card_of_table(path: Path) -> Card:
    """The card of the images that one CSV table names, relative to its folder, and of no others.

    Raises:
        UserError: it is no such table, has no labels, or tells no domains.
    """
    table = read_images_table(path)
    if table is None:
        names = ", ".join(COLUMNS["image"])
        raise UserError(f"{path}: no column has image files; expected a head with one of {names}, and label, domain")
    if not table.classes:
        raise UserError(f"{path}: no image has a label: it needs a column 'label'")
    layouts = _of_one_table(path.parent, table, {})
    return _card(path.parent, layouts, sorted(table.classes, key=_number_or_text))


def _of_tables(folder: Path, found: Mapping[str, Layout]) -> Mapping[str, Layout]:
    """Layouts of domains that have no classes as folders: by a table in each, or else by one beside them."""
    own = {name: table for name in found for table in tables_in(folder / name)[:1]}
    if own:
        return dict(found) | {name: _of_own_table(folder / name, table) for name, table in own.items()}
    tables = tables_in(folder)
    if len(tables) > 1:
        raise UserError(f"{folder}: more than one table of images: {', '.join(table.path.name for table in tables)}")
    return _of_one_table(folder, tables[0], found) if tables else found


def _of_own_table(domain: Path, table: Table) -> Layout:
    return table.layout(f"{{domain}}/{table.path.name}", f"{{domain}}/{base_of(table, domain, _bases(domain))}")


def _of_one_table(folder: Path, table: Table, found: Mapping[str, Layout]) -> dict[str, Layout]:
    """Of the domains that the table tells; folders of which it names no image are domains without labels."""
    base = base_of(table, folder, _bases(folder))
    paths = [Path(base, image).parts for image in table.cells("image")]
    tops = {parts[0] for parts in paths if len(parts) > 1}
    if "domain" in table.columns:
        domains = set(table.cells("domain")) - {""}
        layout = table.layout(table.path.name, base, domain=table.columns["domain"])
    else:
        domains = tops if base == "" else set()
        layout = table.layout(table.path.name, base, by_folder=True)
    if not domains:
        raise UserError(
            f"{table.path}: tells no domains: give it a column 'domain', or put the images of each into a folder"
        )
    return {name: each for name, each in found.items() if name not in tops} | dict.fromkeys(domains, layout)


def _bases(folder: Path) -> list[str]:
    """Folders that the paths of a table may be relative to: it itself, those in it, and those in these."""
    return [
        "",
        *folders(folder),
        *(f"{name}/{each}" for name, path in folders(folder).items() for each in folders(path)),
    ]


def _card(folder: Path, layouts: Mapping[str, Layout], classes: list[str]) -> Card:
    usual = {"name": "folder", "layout": "{domain}/{class}"}
    domains = {
        name: {} if layout.adapter == usual else {"adapter": dict(layout.adapter)}
        for name, layout in sorted(layouts.items())
    }
    content = {"description": f"Images in {folder}", "adapter": usual, "domains": domains, "classes": classes}
    return Card.model_validate(content)


def _number_or_text(name: str) -> tuple[int, str]:
    return (int(name), "") if name.isdecimal() else (-1, name)


def write_card(card: Card, folder: Path, path: Path) -> None:
    """Write the ``card`` of ``folder`` to ``path``, for its owner to fill in what cannot be found by looking."""
    found = card.model_dump(mode="json", by_alias=True, exclude_defaults=True)
    content: dict[str, Any] = {"schema": 1, "folder": str(folder.resolve())} | found
    for adapter in (content["adapter"], *(domain.get("adapter", {}) for domain in content["domains"].values())):
        for key in [key for key, value in adapter.items() if value is None]:
            del adapter[key]
    for name, domain in content["domains"].items():
        content["domains"][name] = {"description": "", "licence": "unknown", "source": "unknown"} | domain
    path.write_text(f"# uan-da datasets show {shlex.quote(f'./{path.name}')}\n{dump_yaml(content)}", encoding="utf-8")
