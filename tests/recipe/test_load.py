import re
import sys
from pathlib import Path

import pytest
import torch

from uan_da.errors import UserError
from uan_da.folders import shipped
from uan_da.recipe import Recipe, check_every_method, load_recipe
from uan_da.recipe.source import dump_yaml, read_yaml

GOOD = """\
dataset: digits
task: optdigits:optdigits_m
backbone: small_cnn
norm: {name: uan, num_clusters: 3}
method: {name: dann, trade_off: 0.5}
augment: {weak: [{name: crop, padding: 2}]}
train: {epochs: 2, optimizer: {name: sgd, lr: 1e-3}}
"""


def problems(folder: Path, text: str, *overrides: str) -> list[str]:
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        load_recipe(path, overrides)
    return [line.removeprefix(f"{path}:") for line in str(caught.value).splitlines()]


@pytest.mark.parametrize("name", shipped("recipes"))
def test_every_shipped_recipe_loads_and_starts_with_its_command(name: str) -> None:
    load_recipe(name)
    check_every_method(name)
    assert re.match(rf"# uan-da (train|compare|stream) {name}[ \n]", shipped("recipes")[name].read_text())


def test_options_are_complete_and_typed(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = load_recipe(tmp_path / "r.yaml")
    assert recipe.norm.name == "uan"
    assert recipe.norm.options["num_clusters"] == 3
    assert recipe.norm.options["assignment"] == "sample"
    assert recipe.norm.keys == {"where": "all", "input": "none"}
    assert recipe.method.options["trade_off"] == 0.5
    assert recipe.train.optimizer.options["lr"] == 1e-3
    assert recipe.task.sources == ("optdigits",)


def test_the_resolved_recipe_resolves_to_itself(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text(GOOD)
    recipe = load_recipe(tmp_path / "r.yaml")
    (tmp_path / "s.yaml").write_text(dump_yaml(recipe.to_dict()))
    again = load_recipe(tmp_path / "s.yaml")
    assert again == recipe
    assert again.to_dict() == recipe.to_dict() == read_yaml(tmp_path / "s.yaml").data


def test_all_mistakes_at_once_each_with_its_line(tmp_path: Path) -> None:
    text = """\
dataset: digits
task: "optdigits:"
backbone: {name: smal_cnn}
norm: {name: uan, num_cluster: 3, assignment: both}
method: {name: dann, trade_off: -1}
augment:
  weak: [{name: crop, pading: 2}]
train: {epoch: 2, batch: {source: 0}, optimizer: {name: adam, lr: fast}}
seeds: 3
"""
    found = problems(tmp_path, text)
    assert len(found) == len(set(found)) == 10
    expected = [
        "2: task: expected SOURCE:TARGET",
        "3: backbone: unknown backbone 'smal_cnn' (did you mean 'small_cnn'?)",
        "4: norm.num_cluster: unknown key 'num_cluster' (did you mean 'num_clusters'?)",
        "4: norm.assignment: input should be 'sample' or 'element'",
        "5: method.trade_off: input should be greater than or equal to 0",
        "7: augment.weak.0.pading: unknown key 'pading' (did you mean 'padding'?)",
        "8: train.epoch: unknown key 'epoch' (did you mean 'epochs'?)",
        "8: train.batch.source: input should be greater than 0",
        "8: train.optimizer.lr: input should be a valid number",
        "9: seeds: unknown key 'seeds' (did you mean 'seed'?)",
    ]
    for want in expected:
        assert any(line.startswith(want) for line in found), (want, found)
    lines = [int(line.partition(":")[0]) for line in found]
    assert lines == sorted(lines)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    found = problems(tmp_path, "dataset: digits\n")
    assert any("task: is missing" in line for line in found)
    assert any("train: is missing" in line for line in found)


def test_a_bad_override_is_placed_on_the_command_line(tmp_path: Path) -> None:
    assert problems(tmp_path, GOOD, "norm.num_clusters=many") == [
        "command line: norm.num_clusters: input should be a valid integer, unable to parse string as an integer"
    ]


def test_both_lengths_or_none(tmp_path: Path) -> None:
    told = problems(tmp_path, GOOD, "train.steps=4")[0]
    assert "exactly one of 'epochs' and 'steps'" in told
    assert "train.epochs=null" in told


@pytest.mark.parametrize("task", ["a:b:c", ":b", "a:", "a+:b", "a+a:b", "a:a", "a+b:b"])
def test_what_is_no_task(tmp_path: Path, task: str) -> None:
    assert "task:" in problems(tmp_path, GOOD, f"task={task}")[0]


def test_several_sources() -> None:
    recipe = load_recipe("digits", ["task=a+b:c"])
    assert recipe.task.domains == ("a", "b", "c")
    assert str(recipe.task) == "a+b:c"


def test_unknown_recipes_suggest_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown recipe 'digit' \(did you mean 'digits'\?\)"):
        load_recipe("digit")
    with pytest.raises(UserError, match="no such file"):
        load_recipe(tmp_path / "none.yaml")


def test_a_users_own_function_works_where_a_name_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mine_models.py").write_text(
        "from torch import nn\n"
        "def net(channels: int, *, width: int = 4) -> nn.Module:\n"
        "    layers = nn.Conv2d(channels, width, 3), nn.BatchNorm2d(width), nn.AdaptiveAvgPool2d(1), nn.Flatten()\n"
        "    return nn.Sequential(*layers)\n"
    )
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("digits", ["backbone=mine_models:net", "backbone.width=7"])
    assert recipe.backbone(3)[0].out_channels == 7
    with pytest.raises(UserError, match="'mine_models:nett' does not exist"):
        load_recipe("digits", ["backbone=mine_models:nett"])
    with pytest.raises(UserError, match="'no_such_module:net' cannot be imported"):
        load_recipe("digits", ["backbone=no_such_module:net"])


def test_the_baseline_keeps_everything_else() -> None:
    recipe = load_recipe("digits", ["seed=5", "norm.shrink=null"])
    plain = recipe.source_only()
    assert plain.method.name == "source_only"
    assert {**plain.to_dict(), "method": 0} == {**recipe.to_dict(), "method": 0}
    assert isinstance(plain, Recipe)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["input.channels=1", "input.mean=[0.5, 0.5, 0.5]"], "'mean' has 3 numbers, and 'channels' is 1: give one"),
        (["input.channels=1", "input.std=[0.5, 0.5, 0.5]"], "'std' has 3 numbers, and 'channels' is 1: give one"),
        (["input.std=[0.5, 0, 0.5]"], "'std' must be greater than 0 in every channel"),
        (["input.std=[0.5, -1, 0.5]"], "'std' must be greater than 0 in every channel"),
        (["norm=bn", "norm.where=input", "norm.input=instance"], "both put a norm in front of the network"),
        (["method=dann", "method.pretrain_lr=1e-3"], "'dann' has no pre-training for 'pretrain_lr'"),
        (
            ["method=numpy:fft"],
            r"'numpy:fft' does not inherit a base class of uan_da\.methods\.method: Method, ",
        ),
        (["norm=torch:pi"], "'torch:pi' is no norm: expected a class, or a function, whose keyword-only"),
        (["norm=numpy:sctypeDict"], "'numpy:sctypeDict' is no norm: expected a class, or a function"),
        (["norm=builtins:int"], "norm 'builtins:int': nothing in Python's own library is a norm"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_reason(tmp_path: Path, overrides: list[str], message: str) -> None:
    (found,) = problems(tmp_path, GOOD, *overrides)
    assert re.search(message, found), found


def test_a_rate_of_a_pretraining() -> None:
    on = load_recipe("digits", ["method=dann", "method.pretrain_lr=1e-3", "method.pretrain_epochs=1"])
    assert on.method.pretrain_lr == 1e-3
    off = load_recipe("digits", ["method=bsp", "method.pretrain_lr=1e-3", "method.pretrain_epochs=0"])  # turned off
    assert Recipe.model_validate(off.to_dict()) == off


ONE = ["train.batch.source=1", "norm=bn"]


@pytest.mark.parametrize(
    "overrides",
    [
        [*ONE, "method=source_only", "bottleneck.features=8"],
        [*ONE, "method=source_only", "head={hidden: [8], norm: true}"],
        [*ONE, "method=bsp", "bottleneck.features=8"],  # in its pre-training
        [*ONE, "method=minent", "bottleneck.features=8"],
        ["train.batch.target=1", "method=dann", "method.routing=separate", "bottleneck.features=8"],
    ],
)
def test_one_image_for_a_batch_norm_of_features_is_refused(overrides: list[str]) -> None:
    with pytest.raises(UserError, match=r"train.batch: .* one image alone .* give larger batches, or bottleneck.norm"):
        load_recipe("digits", overrides)


@pytest.mark.parametrize(
    "overrides",
    [
        [*ONE, "method=source_only"],
        [*ONE, "method=source_only", "bottleneck.norm=false"],
        [*ONE, "method=source_only", "bottleneck.features=8", "task=a+b:c"],
        [*ONE, "method=dann", "train.batch.target=1", "bottleneck.features=8"],  # both in one forward
        [*ONE, "method=adamatch", "bottleneck.features=8"],
        ["train.batch.target=1", "method=source_only", "bottleneck.features=8"],
    ],
)
def test_a_batch_of_one_that_can_be_trained_on(overrides: list[str]) -> None:
    load_recipe("digits", overrides)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("train.optimizer.lr=.inf", "train.optimizer.lr: expected a finite number"),
        ("train.optimizer.lr=.nan", "train.optimizer.lr: expected a finite number"),
        ("train.optimizer.lr=1e300", "train.optimizer.lr: expected a finite number"),
        ("train.optimizer.lr=-1", "train.optimizer.lr: input should be greater than 0"),
        ("norm={name: uan, em_rate: .nan}", "norm.em_rate: expected a finite number"),
        ("input.mean=[0, .inf, 0]", "input.mean: expected a finite number"),
        ("input.size=100000", "input.size: input should be less than or equal to 4096"),
        ("train.batch.source=1000000000", "train.batch.source: input should be less than or equal to 65536"),
        ("bottleneck.features=1000000000", "bottleneck.features: input should be less than or equal to 65536"),
        ("train.epochs=1000000000000000000000000", "train.epochs: expected a finite number"),
        (
            "augment.weak=[{name: crop, padding: -1}]",
            "augment.weak.0: expected `padding` to be an integer of at",
        ),
        (
            "augment.weak=[{name: crop, padding: 9999}]",
            "augment.weak.0: expected `padding` to be an integer of at",
        ),
        ("augment.weak=[{name: flip, p: .nan}]", "augment.weak.0.p: expected a finite number"),
        ("augment.strong=[{name: flip, p: 2}]", "augment.strong.0: expected `p` to be"),
    ],
)
def test_numbers_have_bounds(override: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_recipe("digits", [override])


def test_an_augmentation_of_another_signature_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_views.py").write_text(
        "def shift(images, *, by=1): return images + by\n"
        "class Alone:\n    def __call__(self, images): return images\n"
        "class Right:\n"
        "    def __init__(self, *, by=1): self.by = by\n"
        "    def __call__(self, images, generator): return images\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("shift", "Alone"):
        with pytest.raises(UserError, match=f"augment.weak.0: 'their_views:{name}' is not an augmentation: expected a"):
            load_recipe("digits", [f"augment.weak=[{{name: 'their_views:{name}'}}]"])
    recipe = load_recipe("digits", ["augment.weak=[{name: 'their_views:Right', by: 2}]"])
    assert recipe.augment.weak[0].options == {"by": 2}


def test_the_augmentation_of_the_docs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
    code = text.partition("# my_views.py")[2].partition("```")[0]
    (tmp_path / "my_views.py").write_text(f"#{code}", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_views", raising=False)  # another test's
    recipe = load_recipe("digits", ['augment.weak=[{name: "my_views:Brighter", by: 0.2}]'])
    brighter = recipe.augment.weak[0]()
    assert torch.allclose(brighter(torch.tensor([0.5, 0.9]), torch.Generator()), torch.tensor([0.7, 1.0]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed=0-2", "seed: expected one number, but got '0-2'; uan-da compare takes several: 0..2"),
        ("train.epochs=1..3", "train.epochs: expected one number, but got '1..3'; uan-da compare takes several: 1..3"),
        ("backbone.width=0", "backbone.width: input should be greater than 0"),
        ("augment.weak=[3]", "augment.weak.0: expected the name of an augmentation, or a mapping"),
    ],
)
def test_a_message_names_the_way_out(change: str, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        load_recipe("digits", [change])
