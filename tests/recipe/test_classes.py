"""Which classes source and target share, from a recipe's words."""

import pytest

from uan_da.errors import UserError
from uan_da.methods.bounds import SourceOnly
from uan_da.recipe import Recipe, load_recipe
from uan_da.recipe.classes import Classes

CLASSES = tuple("abcdefg")


def test_counts_take_the_first_the_next_and_the_last() -> None:
    names = Classes(shared=2, source=1, target=3).of(CLASSES)
    assert names == (("a", "b"), ("c",), ("e", "f", "g"))
    assert Classes(shared=7).of(CLASSES) == (CLASSES, (), ())


def test_named_classes_are_taken_before_any_count() -> None:
    names = Classes(shared=("c", "a"), source=2, target=("g",)).of(CLASSES)
    assert names == (("c", "a"), ("b", "d"), ("g",))


@pytest.mark.parametrize(
    ("source", "target", "setting"),
    [(0, 0, "closed_set"), (1, 0, "partial"), (0, 1, "open_set"), (1, 1, "universal"), ((), ("g",), "open_set")],
)
def test_the_setting_has_the_literatures_name(source: int, target: int, setting: str) -> None:
    assert Classes(shared=2, source=source, target=target).setting == setting


@pytest.mark.parametrize(
    ("classes", "message"),
    [
        ({"shared": 5, "source": 2, "target": 1}, "8 classes are asked for, and the data set has 7"),
        ({"shared": ("a", "A")}, "unknown class 'A'"),
        ({"shared": ("a",), "source": ("a",)}, "'a' is named twice"),
    ],
)
def test_classes_that_are_not_there(classes: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Classes.model_validate(classes).of(CLASSES)


def test_unknown_is_no_class_of_the_source() -> None:
    with pytest.raises(ValueError, match="called 'unknown'"):
        Classes(shared=1, target=1).of(["unknown", "b"])
    assert Classes(shared=1, target=("unknown",)).of(["a", "unknown"]).target == ("unknown",)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["classes.shared=0"], "classes.shared: "),
        (["classes.shared=[]"], "classes.shared: "),
        (["classes.target=0", "classes.threshold=0.5"], "'threshold' rejects images of classes that are private"),
        (["classes.threshold=1"], "classes.threshold: "),
        (["task=optdigits"], "one domain, which shares all of its classes with itself"),
        (["target.labelled=3"], "labels are given in closed sets alone, and 'classes' makes this one universal"),
        (["classes=null", "target.labelled=0"], "target.labelled: "),
        (
            ["classes=null", "target.labelled=3", "method=dann"],
            "'dann' serves closed_set, and this recipe is semi_superv",
        ),
        (["classes=null", "target.labelled=3", "method=source_only", "task=optdigits"], "no target beside its source"),
        (["classes={shared:6}"], r"classes.shared:6: a space is missing, \{shared: 6\}"),
        (["classes.privte=2"], "did you mean 'private'|unknown key 'privte'"),
        (
            ["method=dann"],
            "'dann' serves closed_set, and this recipe is universal: .*--setting universal",
        ),
        (["method=mcc", "classes.target=0", "method.then=[bnm]"], "'bnm' serves closed_set"),
    ],
)
def test_bad_input_is_one_message(changes: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_recipe("digits-open", changes)


def test_a_method_is_not_blamed_where_the_setting_is_wrong() -> None:
    with pytest.raises(UserError) as caught:
        load_recipe("digits-semi", ["target.labelled=0"])
    assert len(str(caught.value).splitlines()) == 1


def test_a_closed_set_says_nothing_of_classes() -> None:
    recipe = load_recipe("digits")
    assert recipe.setting == "closed_set"
    assert not recipe.rejects
    assert "classes" not in recipe.to_dict()
    assert Recipe.model_validate(load_recipe("digits-open").to_dict()) == load_recipe("digits-open")


def test_a_method_of_several_sources_refuses_one() -> None:
    with pytest.raises(UserError, match=r"'m3sda' matches several sources .* has one: use a task A\+B:optdigits_m"):
        load_recipe("digits", ["method=m3sda"])


@pytest.mark.parametrize("name", ["digits", "digits-open", "digits-partial", "digits-semi"])
def test_the_baseline_serves_every_setting(name: str) -> None:
    assert load_recipe(name).source_only().method.target is SourceOnly
