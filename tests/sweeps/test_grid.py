from pathlib import Path
from types import SimpleNamespace

import pytest

from uan_da.errors import UserError
from uan_da.recipe import load_recipe
from uan_da.sweeps.grid import all_tasks, build_grid, split_values


def settings(recipe: Path, *overrides: str) -> list[tuple[str, ...]]:
    return [tuple(cell.settings.values())[1:] for cell in build_grid(recipe, overrides).cells]


def test_a_grid_is_the_product_with_source_only_and_the_first_seed_first(recipe):
    assert settings(recipe, "method=adamatch,dann", "norm=bn,uan", "seed=0..1") == [
        (method, norm, seed)
        for seed in ("0", "1")
        for method in ("source_only", "adamatch", "dann")
        for norm in ("bn", "uan")
    ]


def test_without_axes_it_is_the_recipe_and_its_baseline(recipe):
    assert settings(recipe) == [("source_only", "uan", "0"), ("dann", "uan", "0")]
    assert settings(recipe, "method=source_only") == [("source_only", "uan", "0")]


def test_each_cell_is_built_from_the_original_recipe(recipe):
    source_only, dann, bn = (build_grid(recipe, ["method=dann", f"norm={norm}"]).cells for norm in ("uan", "uan", "bn"))
    assert dann[1].recipe.method.options["trade_off"] == 0.5  # its own options stay with its own name
    assert source_only[0].recipe.norm.options["num_clusters"] == 3
    assert "num_clusters" not in bn[1].recipe.norm.options


def test_other_keys_span_axes_and_reach_source_only_unless_they_are_the_methods(recipe):
    found = build_grid(recipe, ["method.trade_off=0.1,1", "train.optimizer.lr=1e-3,1e-2"])
    assert found.axes == ["method.trade_off", "train.optimizer.lr"]
    assert [tuple(cell.settings.values())[1:] for cell in found.cells] == [
        ("source_only", "uan", "0", "–", "1e-3"),
        ("source_only", "uan", "0", "–", "1e-2"),
        ("dann", "uan", "0", "0.1", "1e-3"),
        ("dann", "uan", "0", "0.1", "1e-2"),
        ("dann", "uan", "0", "1", "1e-3"),
        ("dann", "uan", "0", "1", "1e-2"),
    ]
    assert found.cells[2].recipe.train.optimizer.options["lr"] == 1e-3
    assert found.cells[2].name == "optdigits:optdigits_m dann uan method.trade_off=0.1 train.optimizer.lr=1e-3 seed 0"


def test_a_single_value_is_no_axis(recipe):
    found = build_grid(recipe, ["train.optimizer.lr=0.5", "method.trade_off=2"])
    assert not found.axes
    assert [cell.recipe.train.optimizer.options["lr"] for cell in found.cells] == [0.5, 0.5]
    assert found.cells[1].recipe.method.options["trade_off"] == 2


def test_values_with_options_of_their_own(recipe):
    found = build_grid(recipe, ["method={name: dann, trade_off: 0.1},{name: dann, trade_off: 0.2}"])
    assert [cell.recipe.method.options.get("trade_off") for cell in found.cells] == [None, 0.1, 0.2]
    assert found.cells[1].settings["method"] == "dann trade_off=0.1"


def test_the_same_run_is_in_it_once(recipe):
    assert len(settings(recipe, "seed=0,0,0..1")) == 4
    assert len(settings(recipe, "method=dann,{name: dann, trade_off: 0.5}")) == 2


def test_tasks(recipe):
    found = build_grid(recipe, ["task=optdigits:optdigits_m,optdigits_m:optdigits"])
    assert [cell.settings["task"] for cell in found.cells[:2]] == ["optdigits:optdigits_m", "optdigits_m:optdigits"]


@pytest.mark.parametrize(
    ("own", "tasks"),
    [
        ("a:b", ["a:b", "a:c", "b:a", "b:c", "c:a", "c:b"]),
        ("a+b:c", ["b+c:a", "a+c:b", "a+b:c"]),
        ("b", ["a", "b", "c"]),
    ],
)
def test_all_tasks_are_of_the_kind_of_the_recipes_own(recipe, monkeypatch, own, tasks):
    monkeypatch.setattr("uan_da.sweeps.grid.open_dataset", lambda *_: SimpleNamespace(domains=("a", "b", "c")))
    assert all_tasks(load_recipe(recipe, ["method=source_only", f"task={own}"])) == tasks


def test_a_grid_of_all_tasks(recipe, monkeypatch):
    monkeypatch.setattr("uan_da.sweeps.run_id.data_digest", lambda dataset, domain, trust: domain)
    names = ["optdigits", "optdigits_m", "synthetic"]
    tasks = [f"{source}:{target}" for source in names for target in names if source != target]
    found = build_grid(recipe, ["task=all"])
    assert [cell.settings["task"] for cell in found.cells] == tasks * 2
    with pytest.raises(UserError, match="task=all is of one dataset, and there are several: digits, office31"):
        build_grid(recipe, ["task=all", "dataset=digits,office31"])


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("a,b", ["a", "b"]),
        ("a, b", ["a", "b"]),
        ("[1,2],[3,4]", ["[1,2]", "[3,4]"]),
        ("{name: x, y: [1, 2]},z", ["{name: x, y: [1, 2]}", "z"]),
        ("'a,b',c", ["'a,b'", "c"]),
        ("", [""]),
    ],
)
def test_values_are_split_at_their_outer_commas(text, parts):
    assert split_values(text) == parts


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "expected KEY=VALUE"),
        ("seed=4..0", "a range goes up"),
        ("method=dan,dannn", "unknown method 'dannn'"),
        ("norm=bn,batchnorm", "unknown norm 'batchnorm'"),
        ("task=optdigits:mnist", "unknown domain 'mnist'"),
        ("dataset=digit", "unknown dataset 'digit'"),
        ("train.step=1,2", "unknown key 'step'"),
    ],
)
def test_a_mistake_is_told_before_anything_is_trained(recipe, override, message):
    with pytest.raises(UserError, match=message):
        build_grid(recipe, [override])


def test_figures_of_others_on_these_tasks_are_kept_beside_the_runs(recipe):
    found = build_grid(recipe)
    assert [(row.method, str(row.task), row.accuracy) for row in found.published] == [
        ("DANN", "optdigits:optdigits_m", 81.5)
    ]
    assert all(cell.recipe.published is None for cell in found.cells)


def test_source_only_starts_from_no_other_run(recipe: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        checkpoint = tmp_path / name / "checkpoints" / "last.pt"
        checkpoint.parent.mkdir(parents=True)
        checkpoint.write_bytes(b"weights of " + name.encode())
        (tmp_path / name / "recipe.yaml").touch()
    a, b = str(tmp_path / "a"), str(tmp_path / "b")
    cells = build_grid(recipe, ["method=dann", f"init={a}"]).cells
    assert {cell.settings["method"]: cell.recipe.init is None for cell in cells} == {"source_only": True, "dann": False}
    cells = build_grid(recipe, ["method=dann", f"init={a},{b}"]).cells
    found = [(cell.settings["method"], cell.settings["init"]) for cell in cells]
    assert found == [("source_only", "–"), ("dann", a), ("dann", b)]
