"""``uan-da export``: a file that predicts as the run does, in a process that cannot import this package."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from uan_da.data.digits import Digits
from uan_da.data.own_images import images_at
from uan_da.data.task import build_task
from uan_da.errors import Failure, UserError
from uan_da.evaluation.deployed import Deployed
from uan_da.evaluation.predict import predict
from uan_da.export import formats
from uan_da.export.export import export_run
from uan_da.export.folding import folded
from uan_da.export.formats import Onnx, Pt2
from uan_da.recipe import load_recipe
from uan_da.training.run import Run
from uan_da.training.train import train
from uan_da.training.trained import Trained

SHORT = [
    "method=source_only",
    "norm=bn",
    "train.epochs=1",
    "train.steps_per_epoch=4",
    "train.batch.source=16",
]
CPU = torch.device("cpu")
ELSEWHERE = {
    "onnx": """
import sys; sys.modules["uan_da"] = sys.modules["torch"] = None
import numpy as np, onnxruntime
session = onnxruntime.InferenceSession(sys.argv[1], providers=["CPUExecutionProvider"])
logits, probabilities = session.run(["logits", "probabilities"], {"images": np.load(sys.argv[2])})
np.save(sys.argv[3], probabilities)
""",
    "pt2": """
import sys; sys.modules["uan_da"] = None
import numpy as np, torch
network = torch.export.load(sys.argv[1]).module()
with torch.no_grad():
    logits, probabilities = network(torch.from_numpy(np.load(sys.argv[2])))
np.save(sys.argv[3], probabilities.numpy())
""",
}


def trained(folder: Path, *overrides: str) -> Run:
    return train(load_recipe("digits", [*SHORT, *overrides]), folder)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("runs") / "bn")


def predictions_elsewhere(file: Path, kind: str, images: np.ndarray, folder: Path) -> np.ndarray:
    np.save(folder / "images.npy", images)
    arguments = [file, folder / "images.npy", folder / "predictions.npy"]
    subprocess.run([sys.executable, "-I", "-c", ELSEWHERE[kind], *map(str, arguments)], check=True)
    found: np.ndarray = np.load(folder / "predictions.npy")
    return found


def check_whole_target(run: Run, kind: str, folder: Path) -> None:
    """The file's probabilities are the run's on every test image of the target."""
    file = folder / f"model.{kind}"
    assert export_run(run, kind, file).difference <= 1e-4
    task, own = build_task(run.recipe, CPU), Trained.load(run, "last", CPU)
    test = task.target.test
    expected = predict(own.model, test, task.input, task.target.index).probabilities.numpy()
    pixels = torch.cat([batch.pixels for batch in test.batches(256)])
    found = predictions_elsewhere(file, kind, pixels.numpy().astype(np.float32) / 255, folder)
    assert len(found) == 360
    assert np.abs(found - expected).max() <= 1e-4
    assert np.array_equal(found.argmax(1), expected.argmax(1))


def run_the_documents(name: str, folder: Path, *arguments: str) -> list[str]:
    """The words that a script of docs/export.md prints, in a process that cannot import this package."""
    text = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    (script,) = [
        block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if block.startswith(f"# {name}")
    ]
    blocked = f'import sys; sys.modules["uan_da"] = None\n{script}'
    done = subprocess.run([sys.executable, "-c", blocked, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_onnx_of_a_bn_run(run: Run, tmp_path: Path) -> None:
    check_whole_target(run, "onnx", tmp_path)
    Digits().load("optdigits_m", "test")[5][0].save(tmp_path / "digit.png")
    own = Trained.load(run, "last", CPU).classify(images_at([tmp_path / "digit.png"]))
    name, probability = run_the_documents("classify_onnx.py", tmp_path, "digit.png")
    assert name == run.record.classes[int(own.classes[0])]
    assert float(probability) == pytest.approx(float(own.probabilities.max()), abs=1e-4)
    import onnx

    model = onnx.load(tmp_path / "model.onnx")
    assert not {"BatchNormalization"} & {node.op_type for node in model.graph.node}
    facts = {entry.key: entry.value for entry in model.metadata_props}
    assert json.loads(facts["classes"]) == list(run.record.classes)
    assert json.loads(facts["input"])["shape"] == ["batch", 3, 28, 28]
    assert facts["task"] == "optdigits:optdigits_m"
    accuracy = run.results["selections"]["last"]["domains"]["optdigits_m"]["accuracy"]
    assert json.loads(facts["accuracy"])["optdigits_m"] == accuracy
    assert (tmp_path / "model.labels.txt").read_text().splitlines() == list(run.record.classes)


def test_pt2_of_a_dsbn_run_predicts_by_the_targets_branch(tmp_path: Path) -> None:
    run = trained(tmp_path / "run", "norm=dsbn", "method=dann")
    check_whole_target(run, "pt2", tmp_path)
    extra = {"metadata.json": ""}
    torch.export.load(tmp_path / "model.pt2", extra_files=extra)
    assert json.loads(extra["metadata.json"])["norm"] == "dsbn"
    assert run_the_documents("classify_pt2.py", tmp_path)[0] == "['0',"


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "pt2"])
@pytest.mark.parametrize(
    "overrides",
    [
        ["norm=bn"],
        ["norm=gn"],
        ["norm=dsbn", "method=dann"],
        ["norm=uan"],
        ["norm={name: uan, shrink: 0.5}"],
        ["norm={name: uan, depth: 0}"],
        ["norm=uan_paper"],
        ["backbone=resnet18", "norm=uan"],
        ["backbone=resnet18", "norm=bn"],
        ["backbone=timm:efficientnet_lite0", "norm=uan"],
        ["backbone=timm:efficientnet_lite0", "norm=bn"],
    ],
    ids=" ".join,
)
def test_every_norm_and_backbone(tmp_path: Path, overrides: list[str], kind: str) -> None:
    check_whole_target(trained(tmp_path / "run", *overrides), kind, tmp_path)


@pytest.mark.parametrize("norm", ["uan", "{name: uan, depth: 0}"])
def test_uan_in_evaluation_is_exported_by_its_operations(tmp_path: Path, norm: str) -> None:
    """A pt2 program of UAN holds no operator but PyTorch's own, and takes batches of any size."""
    recipe = load_recipe("digits", [*SHORT, f"norm={norm}"])
    from uan_da.models.classifier import build_model

    network = Deployed(build_model(recipe, 10).eval(), recipe.input, 0)
    content = Pt2().make(network, {})
    images = torch.rand(5, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(Pt2().run(content, images)[1], network(images)[1], atol=1e-6, rtol=0)
        torch.testing.assert_close(Pt2().run(content, images[:1])[1], network(images[:1])[1], atol=1e-6, rtol=0)
    program = torch.export.load(_file(tmp_path, content))
    called = {str(node.target) for node in program.graph.nodes if node.op == "call_function"}
    assert all(name.startswith(("aten.", "<built-in", "sym")) for name in called), called


def _file(folder: Path, content: bytes) -> Path:
    (folder / "program.pt2").write_bytes(content)
    return folder / "program.pt2"


def test_a_network_that_predictions_otherwise_is_refused(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pt2, "make", lambda *_: b"")
    wrong = torch.full((360, 10), 0.1)
    monkeypatch.setattr(Pt2, "run", lambda *_: (wrong, wrong))
    with pytest.raises(Failure, match="predicts otherwise than the run"):
        export_run(run, "pt2", tmp_path / "model.pt2")
    monkeypatch.setattr(Pt2, "run", lambda *_: (wrong * torch.nan, wrong * torch.nan))
    with pytest.raises(Failure, match="Nothing was written"):
        export_run(run, "pt2", tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_a_file_that_cannot_be_run_is_a_failure(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("Got invalid dimensions")

    monkeypatch.setattr(Pt2, "make", lambda *_: b"")
    monkeypatch.setattr(Pt2, "run", fail)
    with pytest.raises(Failure, match="Got invalid dimensions"):
        export_run(run, "pt2", tmp_path / "model.pt2")
    assert not list(tmp_path.iterdir())


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'uan-da\[export\]'"):
        Onnx().check()


def test_where_the_data_are_gone_photographs_are_compared(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from uan_da.export import images

    def gone(*_: object) -> None:
        raise UserError("gone")

    monkeypatch.setattr(images, "open_dataset", gone)
    trial = images.trial_images(run.recipe)
    assert trial.images.shape == (2 * 3 * 5, 3, 28, 28)  # 427 × 640 pixels in pieces of 128
    assert trial.images.std() > 0.1
    assert "photographs" in trial.what


def test_folding_leaves_the_predictions_and_takes_the_batch_norms(run: Run) -> None:
    own = Trained.load(run, "last", CPU).model.eval()
    images = torch.rand(3, 3, 28, 28)
    lean = folded(own)
    kinds = [type(module).__name__ for module in lean.backbone.modules()]
    assert "BatchNorm2d" not in kinds
    with torch.no_grad():
        torch.testing.assert_close(lean(images).logits, own(images).logits, atol=1e-5, rtol=1e-5)


def test_deployed_takes_bytes_of_any_size_as_training_does(run: Run) -> None:
    own = Trained.load(run, "last", CPU)
    network = Deployed(own.model, own.recipe.input, own.domain)
    large = torch.randint(0, 256, (2, 3, 60, 40), dtype=torch.uint8)
    with torch.no_grad():
        as_bytes, as_floats = network(large)[1], network(large.float() / 255)[1]
    torch.testing.assert_close(as_bytes, as_floats, atol=0.01, rtol=0)
    assert torch.allclose(as_bytes.sum(1), torch.ones(2))
