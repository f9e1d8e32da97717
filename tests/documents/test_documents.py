"""Every code block of README, CONTRIBUTING and docs is right, or is marked as output by having no language.

Python blocks run, one after the other in a document. The program parses the commands, and their recipes are resolved.
YAML is read as what it is an example of. The examples of CONTRIBUTING.md are saved under the names that they begin with
and pass their own tests.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.core import TyperGroup

from uan_da.cli.app import app
from uan_da.data.card import Card
from uan_da.errors import UserError
from uan_da.folders import shipped
from uan_da.norms import domain_context
from uan_da.recipe import load_recipe
from uan_da.recipe.source import parse_value
from uan_da.sweeps.grid import build_grid

ROOT = Path(__file__).parents[2]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@dataclass(frozen=True)
class Block:
    """A fenced block, or lines of a command that are set in by four spaces."""

    document: str
    line: int
    language: str
    """Empty for output."""
    text: str

    def __str__(self) -> str:
        return f"{self.document}:{self.line}"


def blocks_of(path: Path) -> list[Block]:
    """All blocks of a document, in their order."""
    text = path.read_text(encoding="utf-8")
    found, name = [], path.relative_to(ROOT).as_posix()
    for match in re.finditer(r"^```([^\n]*)\n(.*?)^```$|^((?:    uan-da [^\n]*\n)+)", text, re.DOTALL | re.MULTILINE):
        line = text.count("\n", 0, match.start()) + 1
        if match[3]:
            found.append(Block(name, line, "bash", re.sub(r"^    ", "", match[3], flags=re.MULTILINE)))
        else:
            found.append(Block(name, line, match[1], match[2]))
    return found


ALL = [block for path in DOCUMENTS for block in blocks_of(path)]

LANGUAGES = {"", "bash", "python", "yaml"}
STANDS_FOR = {"S": "0", "N": "bn", "METHOD": "tent", "RECIPE": "digits"}
"""Words that the documents use for any value."""


def commands(block: Block) -> list[list[str]]:
    """The words of each ``uan-da`` command of a block, comments left out."""
    lines = [shlex.split(line, comments=True) for line in block.text.replace("\\\n", " ").splitlines()]
    return [words[1:] for words in lines if words[:1] == ["uan-da"]]


COMMANDS = [(str(block), words) for block in ALL if block.language == "bash" for words in commands(block)]


@pytest.mark.parametrize("block", ALL, ids=str)
def test_a_block_says_what_it_is(block: Block) -> None:
    assert block.language in LANGUAGES, "output has no language"
    if not block.language:
        assert not re.search(r"^(import|from \w+ import|def |class |pip install|uan-da )", block.text, re.MULTILINE)


@pytest.mark.parametrize(("where", "words"), COMMANDS, ids=[f"{w} {' '.join(c)}"[:70] for w, c in COMMANDS])
def test_a_command_is_understood(where: str, words: list[str]) -> None:
    words = [word for word in words if word != "[options]"]
    command: Any = typer.main.get_command(app)
    parsed = command.make_context("uan-da", [], resilient_parsing=True)
    while isinstance(command, TyperGroup):
        name, *words = words
        command = command.get_command(parsed, name)
        assert command is not None, f"{where}: there is no command {name!r}"
        rest = [] if isinstance(command, TyperGroup) else list(words)
        parsed = command.make_context(name, rest, parent=parsed, resilient_parsing=isinstance(command, TyperGroup))
    given = [*(parsed.args or positional(parsed))]
    if parsed.command_path == "uan-da train" and given:  # --resume needs no recipe
        resolve(given[0], given[1:])


def positional(context: Any) -> list[str]:
    """What was given to a command beside its options."""
    values = [context.params[p.name] for p in context.command.params if p.param_type_name == "argument"]
    return [word for value in values for word in (value if isinstance(value, list | tuple) else [value]) if word]


def resolve(recipe: str, overrides: list[str]) -> None:
    """Check a recipe with the words that stand for something replaced; code of the user's own may be missing."""
    if recipe not in shipped("recipes") and recipe not in STANDS_FOR:
        return
    given = [f"{key}={STANDS_FOR.get(value, value)}" for key, _, value in (word.partition("=") for word in overrides)]
    given = [word for word in given if not re.fullmatch(r"(method|norm|backbone)=my_\w+:\w+", word)]
    load_recipe(STANDS_FOR.get(recipe, recipe), given)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_python_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks that begin with the name of a file are for :func:`test_the_examples_pass_their_own_tests`."""
    blocks = [b for b in blocks_of(path) if b.language == "python" and not re.match(r"# \w+\.py\n", b.text)]
    if not blocks:
        pytest.skip("no such block")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.setattr("uan_da.api.compare.compare", lambda recipe, grid, out: build_grid(recipe, grid))  # no training
    scope: dict[str, object] = {"__name__": path.stem, **given(path.name)}
    for block in blocks:
        exec(compile(block.text, str(block), "exec"), scope)  # the point of this test


def given(document: str) -> dict[str, object]:
    """What a document takes for granted."""
    if document != "norms.md":
        return {}
    return {"images": torch.randn(4, 3, 64, 64), "torch": torch, "domain_context": domain_context}


@pytest.mark.parametrize("block", [b for b in ALL if b.language == "yaml"], ids=str)
def test_yaml_is_what_it_shows(block: Block) -> None:
    content = parse_value(block.text)
    assert isinstance(content, dict)
    if "domains" in content and "classes" in content:
        Card.model_validate(content)
    elif content.keys() & {"backbone", "norm", "input"}:
        for key, value in content.items():
            load_recipe("digits", [f"{key}={json.dumps(value)}"] if key != "input" else ["backbone.width=8"])
    else:
        assert all(isinstance(key, str) for key in content)


def test_the_examples_pass_their_own_tests(tmp_path: Path) -> None:
    blocks = blocks_of(ROOT / "CONTRIBUTING.md")
    files = {name[1]: b.text for b in blocks if b.language == "python" and (name := re.match(r"# (\w+\.py)\n", b.text))}
    kinds = ("methods", "norms", "data", "validators")
    assert set(files) == {f"{test}my_{kind}.py" for kind in kinds for test in ("", "test_")}
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    (command,) = [b.text.split() for b in blocks if b.language == "bash" and b.text.startswith("python -m pytest")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *command[1:], "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\b8 passed", done.stdout)


def test_the_documents_are_found() -> None:
    assert len(DOCUMENTS) >= 11
    assert len(COMMANDS) > 30
    assert (ROOT / "CONTRIBUTING.md") in DOCUMENTS


def test_a_wrong_command_would_be_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        test_a_command_is_understood("here", ["evaluate", "runs/mine", "--no-such-option"])
    with pytest.raises(UserError):
        test_a_command_is_understood("here", ["train", "digits", "norm=nonsense"])
