"""What the README says about one's own data, run as it is printed there."""

import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

README = Path(__file__).parents[2] / "README.md"


def blocks() -> list[tuple[str, str]]:
    """The fenced blocks, language and text, under the heading "Your own data"."""
    _, _, section = README.read_text(encoding="utf-8").partition("## Your own data\n")
    return re.findall(r"```(\w+)\n(.*?)```", re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0], re.DOTALL)


@pytest.fixture
def plates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a user with a folder of images works, whose modules can be imported."""
    monkeypatch.setenv("UAN_DA_CACHE", str(tmp_path / "decoded"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    random = np.random.default_rng(0)
    for name in ("scan/ant", "scan/bee", "photo/ant", "photo/bee"):
        (tmp_path / "plates" / name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 256, (12, 12, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "plates" / name / f"{number:03d}.jpg")
    return tmp_path


def test_own_data_as_printed(uan_da: Callable[..., Any], plates: Path) -> None:
    found = blocks()
    assert [language for language, _ in found] == ["bash", "python", "bash"]
    for language, text in found:
        if language == "python":
            assert len(text.splitlines()) <= 15
            (plates / "my_plates.py").write_text(text)
            continue
        for line in text.splitlines():
            program, *arguments = shlex.split(line, comments=True)
            assert program == "uan-da"
            done = uan_da(*arguments, cwd=plates)
            assert done.returncode == 0, done.stdout + done.stderr
        assert "selected by" in done.stdout
    assert len(list((plates / "runs").rglob("results.json"))) == 2
