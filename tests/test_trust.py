"""Opening what somebody else wrote runs no code of theirs."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from uan_da.cli.app import main
from uan_da.errors import DataWarning, UserError
from uan_da.recipe import load_recipe
from uan_da.recipe.source import dump_yaml, read_yaml
from uan_da.trust import FILES, NOTHING, TELLING

EVIL = "from pathlib import Path\nPath(__file__).with_name('ran').touch()\nclass X: pass\ndef f(model): pass\n"
PLACES: dict[str, Callable[[dict[str, Any]], Any]] = {
    "method": lambda r: r.update(method={"name": "theirs:X"}),
    "method.then": lambda r: r.update(method={"name": "dann", "then": ["theirs:X"]}),
    "norm": lambda r: r.update(norm="theirs:f"),
    "backbone": lambda r: r.update(backbone={"name": "theirs:f"}),
    "augment": lambda r: r.update(augment={"weak": ["theirs:X"]}),
    "optimizer": lambda r: r["train"].update(optimizer="theirs:f"),
    "schedule": lambda r: r["train"].update(schedule={"name": "theirs:f"}),
    "validator": lambda r: r.update(selection={"validator": "theirs:f"}),
    "dataset": lambda r: r.update(dataset="theirs:X"),
    "per_method": lambda r: r.update(per_method={"theirs:X": {"seed": 1}}),
}
CARD = "adapter: {adapter}\ndomains: {{a: {{}}, b: {{}}}}\nclasses: [x, y]\nfolder: .\n"
ADAPTERS = [
    "{name: 'theirs:X'}",
    "{name: torch_dataset, dataset: 'theirs:X'}",
    "{name: torch_dataset, dataset: 'subprocess:Popen', arguments: {args: [touch, ran]}}",
    "{name: torch_dataset, dataset: 'sys:exit'}",
]


@pytest.fixture
def theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of somebody else, as the working directory."""
    (tmp_path / "theirs.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "theirs", raising=False)
    return tmp_path


def command(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["uan-da", *words])
    with pytest.raises(SystemExit) as end:
        main()
    return int(end.value.code or 0)


def written(path: Path, place: str) -> Path:
    recipe = read_yaml(Path(__file__).parents[1] / "recipes" / "digits.yaml").data
    PLACES[place](recipe)
    path.parent.mkdir(exist_ok=True)
    path.write_text(dump_yaml(recipe))
    return path


@pytest.mark.parametrize("place", PLACES)
def test_reading_a_recipe_imports_nothing_that_it_names(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    written(theirs / "r.yaml", place)
    verbs = ["check"] if place == "per_method" else ["check", "show"]
    for verb in verbs:
        assert command(monkeypatch, "recipe", verb, "r.yaml") == 2
        told = capsys.readouterr().err
        assert "is code that a file names" in told
        assert "--trust" in told
        assert "Traceback" not in told
    assert not (theirs / "ran").exists()
    assert "theirs" not in sys.modules


@pytest.mark.parametrize(
    "words", ["evaluate R", "predict R theirs.py", "report R", "validators R", "adapt R . --method adabn"]
)
def test_reading_a_run_imports_nothing_that_it_names(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str
) -> None:
    written(theirs / "R" / "recipe.yaml", "method")
    for name in ("done", "signature"):
        (theirs / "R" / name).write_text("{}")
    assert command(monkeypatch, *words.split()) == 2
    assert "'theirs:X' is code that a file names" in capsys.readouterr().err
    assert not (theirs / "ran").exists()


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("words", ["datasets show c.yaml", "datasets check c.yaml", "compare digits dataset=c.yaml"])
def test_reading_a_card_runs_nothing_that_it_names(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: str, adapter: str
) -> None:
    (theirs / "c.yaml").write_text(CARD.format(adapter=adapter))
    more = ["task=a:b", "--dry-run"] if words.startswith("compare") else []
    assert command(monkeypatch, *words.split(), *more) == 2
    told = capsys.readouterr().err
    assert "is code that a file names" in told or "nothing in Python's own library is a dataset" in told
    assert not (theirs / "ran").exists()


@pytest.mark.parametrize("adapter", ADAPTERS[2:])
def test_even_a_trusted_file_cannot_name_pythons_own_library(
    theirs: Path, monkeypatch: pytest.MonkeyPatch, adapter: str
) -> None:
    (theirs / "c.yaml").write_text(CARD.format(adapter=adapter))
    assert command(monkeypatch, "datasets", "check", "c.yaml", "--trust") == 2
    assert not (theirs / "ran").exists()


def test_what_is_trusted_is_run_and_what_trains_tells(theirs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = written(theirs / "r.yaml", "schedule")
    with pytest.raises(UserError, match="--trust"):
        load_recipe(path, trust=NOTHING)
    with pytest.warns(DataWarning, match="this runs code that a file names: schedule 'theirs:f'"):
        load_recipe(path, trust=TELLING)
    assert (theirs / "ran").exists()
    assert load_recipe(path, trust=FILES).trust == FILES


def test_what_the_user_names_is_the_users_own(theirs: Path) -> None:
    recipe = load_recipe("digits", ["train.schedule=theirs:f"])
    assert recipe.train.schedule.name == "theirs:f"
    with pytest.raises(UserError, match="--trust"):
        load_recipe(written(theirs / "r.yaml", "method"), ["train.schedule=theirs:f"])


def test_a_run_that_this_machine_trained_is_remembered_until_its_recipe_changes(
    theirs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from uan_da.training.record import Record
    from uan_da.training.run import Run

    recipe = load_recipe("digits", ["train.schedule=theirs:f"])
    run = Run(theirs / "run")
    run.folder.mkdir()
    run.create(recipe, Record.of(recipe), overwrite=False)
    assert Run.open(run.folder).recipe == recipe
    run.recipe_file.write_text(run.recipe_file.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(UserError, match="--trust"):
        _ = Run.open(run.folder).recipe
    plain = Run(theirs / "plain")
    plain.folder.mkdir()
    plain.create(load_recipe("digits"), Record.of(recipe), overwrite=False)
    assert not (plain.folder / "signature").exists()
