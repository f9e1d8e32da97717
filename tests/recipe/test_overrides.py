import itertools

import pytest

from uan_da.errors import UserError
from uan_da.recipe.overrides import apply_overrides
from uan_da.recipe.source import Source


def changed(*overrides: str) -> dict[str, object]:
    source = Source(
        "r.yaml",
        {
            "norm": {"name": "uan", "num_clusters": 5},
            "method": "dann",
            "train": {"epochs": 3, "optimizer": {"lr": 0.1}},
        },
    )
    apply_overrides(source, overrides)
    return source.data


def test_a_new_name_drops_the_old_options() -> None:
    assert changed("norm=bn")["norm"] == {"name": "bn"}


def test_the_same_name_keeps_them() -> None:
    assert changed("norm=uan")["norm"] == {"name": "uan", "num_clusters": 5}


def test_names_apply_before_keys_in_any_order() -> None:
    texts = ("norm.name=gn", "norm.num_groups=4", "train.epochs=2", "seed=3")
    results = [changed(*order) for order in itertools.permutations(texts)]
    assert results[0]["norm"] == {"name": "gn", "num_groups": 4}
    assert all(result == results[0] for result in results)


def test_a_key_below_a_block_given_by_name() -> None:
    assert changed("method.trade_off=0.5")["method"] == {"name": "dann", "trade_off": 0.5}


def test_missing_parents_are_made() -> None:
    assert changed("selection.validator=entropy")["selection"] == {"validator": {"name": "entropy"}}


def test_only_the_first_equals_sign_splits() -> None:
    assert changed("norm.where=re:a=b")["norm"]["where"] == "re:a=b"  # type: ignore[index]


@pytest.mark.parametrize("text", ["norm", "=3", "a..b=3", ".a=3"])
def test_what_is_no_override(text: str) -> None:
    with pytest.raises(UserError, match="KEY=VALUE"):
        changed(text)


def test_a_key_below_a_value() -> None:
    with pytest.raises(UserError, match=r"train\.epochs\.x: 'train\.epochs' holds a value"):
        changed("train.epochs.x=1")


def test_the_last_of_two_wins() -> None:
    assert changed("seed=1", "seed=2")["seed"] == 2


def test_options_of_a_block_that_is_left_out_are_its_defaults() -> None:
    source = Source("r.yaml", {"train": {"epochs": 1}})
    apply_overrides(source, ["train.optimizer.lr=1e-2", "norm.where=last"])
    assert source.data["train"]["optimizer"] == {"name": "adam", "lr": 1e-2}
    assert source.data["norm"] == {"name": "bn", "where": "last"}
    apply_overrides(source, ["backbone.weights=default"])  # it has no default, and its name is asked for later
    assert source.data["backbone"] == {"weights": "default"}
