import pytest
from ruamel.yaml import YAML

from uan_da.errors import UserError
from uan_da.folders import shipped
from uan_da.recipe import load_recipe
from uan_da.sweeps.run_id import run_id

ROW = "{method: DANN, task: 'a:b', accuracy: 91.4, source: a table, protocol: ResNet-50, oracle: true}"


def figures(recipe: str) -> list[tuple[str, str, float]]:
    """``(method+norm, task, figure)`` of a recipe's file, read without the package."""
    tables = YAML(typ="safe").load(shipped("recipes")[recipe]).get("published") or []
    rows = []
    for table in tables:
        told = table["accuracy"]
        if not isinstance(told, dict):
            rows.append(
                (f"{table['method']}+{table['norm']}" if "norm" in table else table["method"], table["task"], told)
            )
            continue
        rows += [(str(method), task, figure) for method, of in told.items() for task, figure in of.items()]
    return rows


WITH_FIGURES = [name for name in shipped("recipes") if figures(name)]


def test_a_figure_of_others_is_one_row() -> None:
    (row,) = load_recipe("digits", [f"published=[{ROW}]"]).published or ()
    assert (row.method, row.norm, str(row.task), row.accuracy, row.oracle) == ("DANN", None, "a:b", 91.4, True)
    assert (row.source, row.protocol) == ("a table", "ResNet-50")


def test_a_figure_of_others_changes_no_run() -> None:
    plain, told = load_recipe("digits"), load_recipe("digits", [f"published=[{ROW}]"])
    assert plain.published is None
    assert "published" not in plain.to_dict()
    assert told.to_dict()["published"][0]["accuracy"] == 91.4
    assert run_id(told, []) == run_id(plain, []) != run_id(load_recipe("digits", ["seed=1"]), [])


@pytest.mark.parametrize("name", WITH_FIGURES)
def test_every_figure_of_a_shipped_recipe_is_a_row_as_it_stands_in_the_file(name: str) -> None:
    rows = load_recipe(name).published or ()
    found = [(f"{row.method}+{row.norm}" if row.norm else row.method, str(row.task), row.accuracy) for row in rows]
    assert sorted(found) == sorted(figures(name))


def test_the_recipes_with_figures_are_found() -> None:
    assert len(WITH_FIGURES) >= 2
    assert sum(len(figures(name)) for name in WITH_FIGURES) > 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("accuracy: 91.4", "accuracy: 0.914"), "greater than 1"),
        (("accuracy: 91.4", "accuracy: 914"), "less than or equal to 100"),
        ((", source: a table", ""), "source: is missing"),
        ((", protocol: ResNet-50", ""), "protocol: is missing"),
        ((", oracle: true", ""), "oracle: is missing"),
        (("'a:b'", "'a:a'"), "a domain appears twice"),
        (("method:", "methods:"), "unknown key 'methods' \\(did you mean 'method'"),
    ],
)
def test_a_figure_without_its_source_or_in_the_wrong_unit_is_refused(change: tuple[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("digits", [f"published=[{ROW.replace(*change)}]"])
