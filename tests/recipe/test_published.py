import pytest

from uan_da.errors import UserError
from uan_da.recipe import load_recipe

ROW = "{method: DANN, task: 'a:b', accuracy: 91.4, source: a table, protocol: ResNet-50, oracle: true}"


def test_figures_of_others_are_part_of_a_recipe_and_of_nothing_that_lacks_them():
    (row,) = load_recipe("digits", [f"published=[{ROW}]"]).published or ()
    assert (row.method, row.norm, str(row.task), row.accuracy, row.oracle) == ("DANN", None, "a:b", 91.4, True)
    assert "published" not in load_recipe("digits").to_dict() or load_recipe("digits").published


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("accuracy: 91.4", "accuracy: 0.914"), "greater than 1"),
        (("accuracy: 91.4", "accuracy: 914"), "less than or equal to 100"),
        ((", source: a table", ""), "source: is missing"),
        ((", protocol: ResNet-50", ""), "protocol: is missing"),
        ((", oracle: true", ""), "oracle: is missing"),
        (("'a:b'", "'a:a'"), "a domain stands twice"),
        (("method:", "methods:"), "unknown key 'methods' \\(did you mean 'method'"),
    ],
)
def test_a_figure_without_its_source_or_in_the_wrong_unit_is_refused(change, message):
    with pytest.raises(UserError, match=message):
        load_recipe("digits", [f"published=[{ROW.replace(*change)}]"])
