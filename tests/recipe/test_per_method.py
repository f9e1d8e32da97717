from pathlib import Path

import pytest

from uan_da.errors import UserError
from uan_da.recipe import check_every_method, load_recipe

RECIPE = """\
dataset: digits
task: optdigits:optdigits_m
backbone: small_cnn
method: source_only
train:
  epochs: 3
  optimizer: {name: sgd, lr: 1e-3, weight_decay: 5e-4}
  schedule: {name: inverse_decay, gamma: 3e-4}
per_method:
  dann:
    method: {trade_off: 0.5}
    train: {epochs: 20, optimizer: {lr: 1e-2}}
  mcc:
    train: {schedule: cosine, optimizer: {name: adam}}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE)
    return path


def test_a_method_brings_its_changes_and_leaves_the_rest(file: Path) -> None:
    recipe = load_recipe(file, ["method=dann"])
    assert recipe.method.options["trade_off"] == 0.5
    assert (recipe.train.epochs, recipe.train.optimizer.options["lr"]) == (20, 1e-2)
    assert recipe.train.optimizer.options["weight_decay"] == 5e-4
    assert recipe.train.schedule.options["gamma"] == 3e-4
    plain = load_recipe(file)
    assert (plain.train.epochs, plain.train.optimizer.options["lr"]) == (3, 1e-3)
    assert "per_method" not in recipe.to_dict()


def test_a_block_with_another_name_is_replaced(file: Path) -> None:
    recipe = load_recipe(file, ["method=mcc"])
    assert recipe.train.schedule.name == "cosine"
    assert recipe.train.optimizer.name == "adam"
    assert recipe.train.optimizer.options["weight_decay"] == 0.0


def test_the_command_line_has_the_last_word_whatever_the_order(file: Path) -> None:
    recipe = load_recipe(file, ["train.optimizer.lr=7e-3", "method.trade_off=2", "method=dann", "train.epochs=1"])
    assert recipe.train.optimizer.options["lr"] == 7e-3
    assert recipe.method.options["trade_off"] == 2
    assert recipe.train.epochs == 1
    assert load_recipe(file, ["train.optimizer=adamw", "method=dann"]).train.optimizer.options["lr"] == 1e-3


def test_a_method_that_is_not_named_has_none(file: Path) -> None:
    assert load_recipe(file, ["method=bnm"]).train.epochs == 3


def test_mistakes_are_told_where_they_were_written(file: Path) -> None:
    file.write_text(RECIPE.replace("trade_off: 0.5", "trade_of: 0.5").replace("schedule: cosine", "schedul: cosine"))
    load_recipe(file)
    with pytest.raises(UserError) as caught:
        check_every_method(file)
    lines = str(caught.value).splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{file}:11: method.trade_of: unknown key 'trade_of' (did you mean 'trade_off'?)")
    assert lines[1].startswith(f"{file}:14: train.schedul: unknown key 'schedul' (did you mean 'schedule'?)")


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ("per_method: {dan_n: {}}", "did you mean 'dan"),
        ("per_method: 3", "a mapping"),
        ("per_method: {dann: 3}", "a map"),
        ("per_method: {3: {}}", "unknown method '3'"),
        ("per_method: {null: {}}", "unknown method"),
    ],
)
def test_what_is_no_such_block(file: Path, block: str, message: str) -> None:
    file.write_text(RECIPE.partition("per_method")[0] + block)
    with pytest.raises(UserError, match=message):
        load_recipe(file)


@pytest.mark.parametrize(
    ("optimizer", "name"),
    [("optimizer: sgd", "sgd"), ("optimizer: {name: sgd}", "sgd"), ("", "adam")],
)
def test_options_go_into_a_block_that_is_a_name_or_left_out(file: Path, optimizer: str, name: str) -> None:
    head = RECIPE.partition("train:")[0]
    options = "{lr: 0.125, weight_decay: 0.25}"
    file.write_text(
        f"{head}train:\n  epochs: 3\n  {optimizer}\nselection: {{}}\n"
        f"per_method: {{dann: {{train: {{optimizer: {options}}}, selection: {{validator: {{}}}}}}}}\n"
    )
    recipe = load_recipe(file, ["method=dann"])
    assert recipe.train.optimizer.name == name
    assert recipe.train.optimizer.options["lr"] == 0.125
    assert recipe.train.optimizer.options["weight_decay"] == 0.25
    assert recipe.selection.validator.name == "information_maximization"
    assert load_recipe(file).train.optimizer.options["lr"] != 0.125


def test_another_name_replaces_a_block_that_is_a_name(file: Path) -> None:
    file.write_text(RECIPE.replace("{name: sgd, lr: 1e-3, weight_decay: 5e-4}", "sgd"))
    assert load_recipe(file, ["method=mcc"]).train.optimizer.name == "adam"
