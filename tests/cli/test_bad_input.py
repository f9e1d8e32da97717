"""``main()`` keeps its promise: bad input is one message and exit code 2 (1 where the machine failed), no traceback.

A table of commands and what may be wrong with what each is given.
"""

import errno
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uan_da.recipe import load_recipe
from uan_da.training.train import train

RECIPE = """dataset: ./photos
task: scan:photo
input: {size: 8}
backbone: small_cnn
train: {steps: 1, steps_per_epoch: 1, batch: {source: 4, target: 4}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data set, a recipe, and a finished run of it."""
    folder = tmp_path_factory.mktemp("bad")
    colours = np.random.default_rng(0)
    for domain in ("scan", "photo"):
        for label in ("ant", "bee"):
            (folder / "photos" / domain / label).mkdir(parents=True)
            for i in range(6):
                pixels = colours.integers(0, 256, (8, 8, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / "photos" / domain / label / f"{i}.png")
    (folder / "r.yaml").write_text(RECIPE.replace("./photos", str(folder / "photos")))
    train(load_recipe(folder / "r.yaml"), folder / "run", device="cpu")
    (folder / "sweep" / "runs").mkdir(parents=True)
    (folder / "space.yaml").write_text("seed: [0, 1]\n")
    return folder


@pytest.fixture
def here(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it, and the working directory."""
    shutil.copytree(place, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def one_message(done: Any, code: int = 2) -> None:
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, (done.returncode, done.stdout, done.stderr)
    said = [line for line in done.stderr.splitlines() if line and not line.startswith(("warning:", "Usage:", "Try "))]
    assert said, done.stdout
    assert sum(line.startswith(("error:", "Error:")) for line in said) <= 1, done.stderr


def _bomb() -> bytes:
    nine = ",".join(["*a{}"] * 9)
    lines = [f"a{i}: &a{i} [{nine.replace('{}', str(i - 1))}]" for i in range(1, 12)]
    return "\n".join(["a0: &a0 [1]", *lines]).encode()


CONTENTS: dict[str, bytes] = {
    "empty": b"",
    "no UTF-8": b"dataset: \xff\xfe\n",
    "binary": bytes(range(256)),
    "no YAML": b"a: [1\n",
    "a list": b"- 1\n",
    "a bomb": _bomb(),
    "an unknown key": RECIPE.encode() + b"epoch: 3\n",
    "a wrong type": RECIPE.replace("size: 8", "size: eight").encode(),
    "out of range": RECIPE.replace("size: 8", "size: 1000000").encode(),
    "no number": RECIPE.replace("steps: 1,", "steps: .nan,").encode(),
    "a tag": b"a: !!python/object/apply:os.system [x]\n",
    "no data set": RECIPE.replace("./photos", "./nowhere").encode(),
}
OF_RECIPES = {
    "train": ["train", "bad.yaml"],
    "compare": ["compare", "bad.yaml", "--dry-run"],
    "tune": ["tune", "bad.yaml", "--space", "space.yaml", "--trials", "1", "--validator", "snd"],
    "bench recipe": ["bench", "recipe", "bad.yaml"],
    "recipe show": ["recipe", "show", "bad.yaml"],
    "recipe check": ["recipe", "check", "bad.yaml"],
}
NAMES_DATA_ONLY = ("recipe show", "recipe check")
"""They open no data set."""


@pytest.mark.parametrize("command", OF_RECIPES)
@pytest.mark.parametrize("content", CONTENTS)
def test_a_recipe(uan_da: Callable[..., Any], here: Path, command: str, content: str) -> None:
    if content == "no data set" and command in NAMES_DATA_ONLY:
        return
    (here / "bad.yaml").write_bytes(CONTENTS[content])
    one_message(uan_da(*OF_RECIPES[command]))
    assert not [path for path in (here / "runs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("command", OF_RECIPES)
@pytest.mark.parametrize("what", ["nowhere", "a folder", "a pipe", "a file as a folder"])
def test_a_recipe_that_is_no_file(uan_da: Callable[..., Any], here: Path, command: str, what: str) -> None:
    name = "bad.yaml"
    if what == "a folder":
        (here / name).mkdir()
    elif what == "a pipe":
        os.mkfifo(here / name)
    elif what == "a file as a folder":
        name = "r.yaml/bad.yaml"
    one_message(uan_da(*[name if word == "bad.yaml" else word for word in OF_RECIPES[command]]))


OF_RUNS = {
    "evaluate": ["evaluate", "bad"],
    "predict": ["predict", "bad", "photos/scan/ant/0.png"],
    "adapt": ["adapt", "bad", "photos/photo", "--method", "adabn", "--out", "new"],
    "report": ["report", "bad"],
    "validators": ["validators", "bad"],
}
DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": shutil.rmtree,
    "a file": lambda run: (shutil.rmtree(run), run.write_text("x")),
    "empty": lambda run: (shutil.rmtree(run), run.mkdir()),
    "an empty recipe": lambda run: (run / "recipe.yaml").write_bytes(b""),
    "a recipe of no UTF-8": lambda run: (run / "recipe.yaml").write_bytes(b"\xff\xfe"),
    "a recipe out of range": lambda run: (run / "recipe.yaml").write_text(
        (run / "recipe.yaml").read_text().replace("size: 8", "size: -8")
    ),
    "a recipe that is a folder": lambda run: ((run / "recipe.yaml").unlink(), (run / "recipe.yaml").mkdir()),
}


@pytest.mark.parametrize("command", OF_RUNS)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_run(uan_da: Callable[..., Any], here: Path, command: str, damage: str) -> None:
    (here / "run").rename(here / "bad")
    DAMAGE[damage](here / "bad")
    one_message(uan_da(*OF_RUNS[command]))


OF_DATA = {
    "show": ["datasets", "show", "bad"],
    "check": ["datasets", "check", "bad"],
    "fetch": ["datasets", "fetch", "bad"],
    "init": ["datasets", "init", "bad"],
    "preview": ["datasets", "preview", "bad"],
}


@pytest.mark.parametrize("command", OF_DATA)
@pytest.mark.parametrize("kind", ["missing", "a file", "empty", "a card of no UTF-8", "an empty card", "a wrong card"])
def test_a_data_set(uan_da: Callable[..., Any], here: Path, command: str, kind: str) -> None:
    name, card = "./bad", here / "bad.yaml"
    if kind == "a file":
        (here / "bad").write_text("x")
    elif kind == "empty":
        (here / "bad").mkdir()
    elif "card" in kind:
        name = "./bad.yaml"
        card.write_bytes({"a card of no UTF-8": b"\xff", "an empty card": b"", "a wrong card": b"domains: 3\n"}[kind])
    one_message(uan_da(*[name if word == "bad" else word for word in OF_DATA[command]]))


WRONG_USE = [
    ["train"], ["train", "r.yaml", "epochs"], ["train", "r.yaml", "seed=-1"], ["train", "r.yaml", "--out", "r.yaml"],
    ["train", "r.yaml", "--out", "r.yaml/x"], ["train", "r.yaml", "--out", "photos"], ["train", "r.yaml", "--log", "x"],
    ["train", "r.yaml", "task=scan:pho"], ["train", "r.yaml", "--device", "cuda:99"],
    ["train", "r.yaml", "norm={name:uan}"], ["train", "r.yaml", "init=nowhere"],
    ["evaluate", "run", "--domain", "x"], ["evaluate", "run", "--checkpoint", "best"],
    ["evaluate", "run", "--checkpoint", "oracle"], ["evaluate", "run", "--device", "x"],
    ["predict", "run", "nowhere.png"], ["predict", "run", "sweep"],
    ["predict", "run", "photos", "--out", "photos"], ["predict", "run", "photos", "--out", "r.yaml"],
    ["predict", "run", "photos", "--out", "nowhere/x.csv"], ["predict", "run", "photos", "--out", "r.yaml/x.csv"],
    ["adapt", "run", "nowhere", "--method", "adabn"], ["adapt", "run", "photos/photo", "--method", "dann"],
    ["adapt", "run", "photos/photo", "--method", "adabnn"], ["adapt", "run", "sweep", "--method", "adabn"],
    ["adapt", "run", "photos/photo", "--method", "tent", "method.lr=.nan"],
    ["adapt", "run", "photos/photo", "--method", "tent", "--out", "run"],
    ["adapt", "run", "photos/photo", "--method", "tent", "--out", "r.yaml"],
    ["compare", "r.yaml", "--method", "dan_n", "--dry-run"], ["compare", "r.yaml", "--seed", "3..1", "--dry-run"],
    ["compare", "r.yaml", "--task", "a:b", "--dry-run"], ["compare", "r.yaml", "seed=0", "seed=1", "--dry-run"],
    ["report", "sweep"], ["report", "photos"], ["validators", "sweep"],
    ["tune", "r.yaml", "--space", "nowhere.yaml", "--trials", "1", "--validator", "snd"],
    ["tune", "r.yaml", "--space", "r.yaml", "--trials", "1", "--validator", "snd"],
    ["tune", "r.yaml", "--space", "space.yaml", "--trials", "0", "--validator", "snd"],
    ["bench", "norms", "--shape", "1,2"], ["bench", "norms", "--device", "x"], ["bench", "train", "--network", "x"],
    ["recipe", "copy", "nowhere", "new.yaml"], ["recipe", "copy", "digits", "r.yaml"],
    ["recipe", "copy", "digits", "nowhere/new.yaml"], ["recipe", "copy", "digits", "photos", "--overwrite"],
    ["datasets", "check", "photos", "--task", "x"], ["datasets", "check", "photos", "--task", "scan:x"],
    ["datasets", "init", "photos", "--card", "r.yaml"], ["datasets", "init", "photos", "--card", "nowhere/x.yaml"],
    ["datasets", "preview", "photos", "--domain", "x"], ["datasets", "preview", "photos", "--out", "r.yaml"],
    ["datasets", "preview", "photos", "--size", "1"], ["list", "nothing"], ["frobnicate"], ["--frobnicate"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", WRONG_USE, ids=" ".join)
def test_wrong_use(uan_da: Callable[..., Any], here: Path, arguments: list[str]) -> None:
    before = sorted(path for path in here.rglob("*") if path.is_file())
    one_message(uan_da(*arguments))
    assert set(before) <= {path for path in here.rglob("*") if path.is_file()}  # nothing is lost


WRITING = {
    "train": ["train", "r.yaml", "--out", "locked/new"],
    "evaluate": ["evaluate", "locked/run"],
    "report": ["report", "locked/run"],
    "adapt": ["adapt", "run", "photos/photo", "--method", "adabn", "--out", "locked/new"],
    "predict": ["predict", "run", "photos", "--out", "locked/new.csv"],
    "recipe copy": ["recipe", "copy", "digits", "locked/new.yaml"],
    "datasets init": ["datasets", "init", "photos", "--card", "locked/new.yaml"],
    "datasets preview": ["datasets", "preview", "photos", "--out", "locked/new"],
}


@pytest.mark.parametrize("command", WRITING)
@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC], ids=["read-only", "forbidden", "full"])
def test_a_place_that_cannot_be_written(
    uan_da: Callable[..., Any], here: Path, monkeypatch: pytest.MonkeyPatch, command: str, number: int
) -> None:
    shutil.copytree(here / "run", here / "locked" / "run")
    shutil.rmtree(here / "locked" / "run" / "evaluation", ignore_errors=True)
    _lock(monkeypatch, here / "locked", number)
    done = uan_da(*WRITING[command])
    one_message(done, done.returncode or 2)
    assert done.returncode in (1, 2)
    assert "locked" in done.stderr
    assert os.strerror(number).lower() in done.stderr.lower()


def _lock(monkeypatch: pytest.MonkeyPatch, locked: Path, number: int) -> None:
    """Whatever would write into ``locked`` fails as the operating system fails it (root may write anywhere)."""

    def refuse(path: object) -> None:
        if isinstance(path, str | os.PathLike) and locked in [
            Path(os.path.abspath(path)),
            *Path(os.path.abspath(path)).parents,
        ]:
            raise OSError(number, os.strerror(number), str(path))

    def guarded(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Any, *arguments: Any, **options: Any) -> Any:
            refuse(path)
            return function(path, *arguments, **options)

        return call

    def opened(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        if set(mode) & set("wax+"):
            refuse(file)
        return real_open(file, mode, *arguments, **options)

    def os_open(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            refuse(path)
        return real_os_open(path, flags, *arguments, **options)

    real_open, real_os_open = io.open, os.open
    monkeypatch.setattr("builtins.open", opened)
    monkeypatch.setattr(io, "open", opened)
    monkeypatch.setattr(os, "open", os_open)
    monkeypatch.setattr(os, "mkdir", guarded(os.mkdir))


def test_the_table_is_large_enough() -> None:
    cells = len(OF_RECIPES) * (len(CONTENTS) + 4) + len(OF_RUNS) * len(DAMAGE) + len(OF_DATA) * 6
    assert cells + len(WRONG_USE) + 3 * len(WRITING) >= 120
