"""What the README says about one's own data, run as it is printed there."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def blocks() -> list[tuple[str, str]]:
    """The fenced blocks, language and text, under the heading "Your own data"."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    _, _, section = text.partition("## Your own data\n")
    return re.findall(r"```(\w+)\n(.*?)```", re.split(r"^## ", section, maxsplit=1, flags=re.MULTILINE)[0], re.DOTALL)


def test_own_data_as_printed(make, tmp_path: Path) -> None:
    found = blocks()
    assert [language for language, _ in found] == ["bash", "python", "bash"]
    make(tmp_path / "plates", {"scan": ("ant", "bee"), "photo": ("ant", "bee")})
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    for language, text in found:
        if language == "python":
            assert len(text.splitlines()) <= 15
            (tmp_path / "my_plates.py").write_text(text)
            continue
        done = subprocess.run(
            ["bash", "-ec", text],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            env=os.environ | {"PATH": search, "PYTHONPATH": str(ROOT)},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert "selected by" in done.stdout
    assert len(list((tmp_path / "runs").rglob("results.json"))) == 2
