"""Every script in examples/ runs as a user runs it, in an empty folder."""

import os
import re
import subprocess
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
def test_an_example_runs(name: str, tmp_path: Path) -> None:
    if name == "own_images_to_onnx.py":
        pytest.importorskip("onnxruntime")
    environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert re.search(PRINTS[name], done.stdout), done.stdout
