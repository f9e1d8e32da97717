"""Every script in examples/ runs to its end, in an empty folder."""

import re
import runpy
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"
PRINTS = {
    "own_images_to_onnx.py": r"plates/photo/\d/\d+\.png: \d \(0\.\d+\)",
    "uan_in_your_model.py": r"recalibrated: [\d.]+ % of 200 target images",
    "own_method.py": r"own_method:MomentGap \{'optdigits': [\d.]+, 'optdigits_m': [\d.]+\}",
    "compare_baselines.py": r"deep_coral: [+-][\d.]+ points over source_only",
    "adapt_online.py": r"after the stream: [\d.]+ % of 192 images",
}


def test_each_is_tested() -> None:
    assert {path.name for path in EXAMPLES.glob("*.py")} == set(PRINTS)


@pytest.mark.parametrize("name", PRINTS)
def test_an_example_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In this process, which spares the seconds that importing torch takes."""
    if name == "own_images_to_onnx.py":
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(EXAMPLES))  # as Python does for a script
    monkeypatch.setattr(sys, "argv", [str(EXAMPLES / name)])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    printed = capsys.readouterr().out
    assert re.search(PRINTS[name], printed), printed
