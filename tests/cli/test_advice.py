import pytest

from uan_da.cli.advice import advice
from uan_da.recipe import load_recipe


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        (["method=source_only"], "norm=gn"),
        (["method=source_only", "norm=bn"], None),
        (["method=source_only", "norm.shrink=0.5"], None),
        (["method=source_only", "init=runs/earlier"], None),
        (["method=source_only", "backbone=resnet18", "backbone.weights=IMAGENET1K_V1"], None),
        (["method=source_only", "norm=uan_paper"], None),
    ],
)
def test_a_better_default_is_named_where_the_tables_have_one(changes: list[str], named: str | None) -> None:
    said = advice(load_recipe("digits", changes))
    assert said is None if named is None else named in str(said)
