"""``uan-da adapt`` and ``uan-da predict`` on a short run."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from uan_da.data.digits import Digits
from uan_da.errors import UserError
from uan_da.methods.target import Target
from uan_da.recipe import load_recipe
from uan_da.training.run import Run
from uan_da.training.train import train

SHORT = ["norm=uan", "method=source_only", "train.epochs=1", "train.steps_per_epoch=20"]
METHODS = ["adabn", "uan", "tent", "shot", "nrc", "aad", "plue", "lame"]
QUICK = {name: ["method.epochs=1"] for name in ("shot", "nrc", "aad", "plue")}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(load_recipe("digits", SHORT), tmp_path_factory.mktemp("run") / "run").folder


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Digits in photographs: ``flat/*.png`` and the same as ``classes/<class>/*.png``."""
    folder, digits = tmp_path_factory.mktemp("photos"), Digits()
    examples = digits.load("optdigits_m", "test")
    for index in range(90):
        image, label = examples[index]
        for place in (folder / "flat", folder / "classes" / digits.classes[label]):
            place.mkdir(parents=True, exist_ok=True)
            image.save(place / f"{index:03d}.png")
    return folder


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UAN_DA_CACHE", "off")


def report(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((folder / "adapt.json").read_text())
    return content


@pytest.mark.parametrize("method", METHODS)
def test_a_new_run_folder(uan_da: Any, run: Path, photos: Path, tmp_path: Path, method: str) -> None:
    out, options = tmp_path / "new", QUICK.get(method, [])
    done = uan_da("adapt", run, photos / "classes", "--method", method, *options, "--out", out)
    assert done.returncode == 0, done.stderr
    for words in ("90 images", "mean confidence", "mean entropy", "accuracy", "95 % interval", "McNemar"):
        assert words in done.stdout
    written = report(out)
    assert written["method"]["name"] == method
    assert (written["n"], written["labelled"], written["step"]) == (90, 90, 20)
    assert f"predictions changed: {written['changed']} of 90" in done.stdout
    assert Run.open(out).recipe.norm.name == "uan"
    saved = torch.load(out / "checkpoints" / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(x, saved[name]) for name, x in load_file(out / "model.safetensors").items())
    plain = torch.load(run / "checkpoints" / "last.pt", weights_only=True)["model"]
    assert all(torch.equal(x, saved[name]) for name, x in plain.items()) == (method == "lame")
    table = pd.read_csv(out / "predictions.csv", dtype={"class": str})
    assert list(table.columns) == ["file", "class", "confidence"]
    right = table["class"] == [Path(file).parent.name for file in table["file"]]
    assert right.mean() == pytest.approx(written["after"]["accuracy"])
    assert table["confidence"].mean() == pytest.approx(written["after"]["confidence"], abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_predicting_by_the_new_run_gives_its_predictions_again(
    uan_da: Any, run: Path, photos: Path, tmp_path: Path, method: str
) -> None:
    options = [*QUICK.get(method, []), "--out", tmp_path / "new"]
    assert uan_da("adapt", run, photos / "flat", "--method", method, *options).returncode == 0
    tables = [pd.read_csv(tmp_path / "new" / "predictions.csv")]
    tables += [
        pd.read_csv(io.StringIO(uan_da("predict", it, photos / "flat").stdout)) for it in (tmp_path / "new", run)
    ]
    adapted, again, before = tables
    assert (adapted["class"] != before["class"]).sum() == report(tmp_path / "new")["changed"]
    same = again if method != "lame" else before  # LAME's predictions are not the network's, which stayed
    if method == "lame":
        pd.testing.assert_frame_equal(again, before)
    else:
        pd.testing.assert_frame_equal(adapted, same, atol=1e-5)


def test_labels_are_never_given_to_a_method_and_change_nothing(
    uan_da: Any, run: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Target] = []
    made = Target.__init__
    monkeypatch.setattr(Target, "__init__", lambda self, *a, **k: (made(self, *a, **k), seen.append(self))[0])
    for name in ("flat", "classes"):
        uan_da("adapt", run, photos / name, "--method", "adabn", "--out", tmp_path / name)
    assert [set(target.images.labels.tolist()) for target in seen] == [{-1}, {-1}]
    flat, classes = (report(tmp_path / name) for name in ("flat", "classes"))
    assert flat["labelled"] == 0
    assert flat["after"]["accuracy"] is None
    assert flat["after"]["confidence"] == pytest.approx(classes["after"]["confidence"], abs=0.02)  # another file order


def test_the_same_command_gives_the_same_bits(uan_da: Any, run: Path, photos: Path, tmp_path: Path) -> None:
    for name in "ab":
        uan_da("adapt", run, photos / "flat", "--method", "shot", "method.epochs=1", "--out", tmp_path / name)
    first, second = (load_file(tmp_path / name / "model.safetensors") for name in "ab")
    assert all(torch.equal(x, second[name]) for name, x in first.items())


def test_the_new_run_is_evaluated_and_adapted_like_any(uan_da: Any, run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(run, tmp_path / "mine")
    done = uan_da("adapt", "mine", photos / "flat", "--method", "tent", "method.lr=1e-2", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "run: mine-tent   next: uan-da predict mine-tent IMAGES"
    evaluated = uan_da("evaluate", "mine-tent", cwd=tmp_path)
    assert evaluated.returncode == 0, evaluated.stderr
    assert "optdigits_m" in evaluated.stdout
    again = uan_da("adapt", "mine-tent", photos / "flat", "--method", "lame", cwd=tmp_path)
    assert again.returncode == 0, again.stderr
    assert report(tmp_path / "mine-tent-lame")["run"] == "mine-tent"


def test_the_data_set_is_not_needed(uan_da: Any, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = tmp_path / "data"
    for domain in ("scan", "photo"):
        for name in "01":
            shutil.copytree(photos / "classes" / name, data / domain / name)
    overrides = [f"dataset={data}", "task=scan:photo", *SHORT, "train.steps_per_epoch=2", "train.batch.source=4"]
    run = train(load_recipe("digits", overrides), tmp_path / "run").folder
    assert uan_da("evaluate", run).returncode == 0
    shutil.rmtree(data)
    done = uan_da("adapt", run, photos / "classes" / "0", "--method", "adabn", "--out", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert report(tmp_path / "new")["classes"] == ["0", "1"]
    assert uan_da("predict", tmp_path / "new", photos / "flat" / "000.png").returncode == 0
    shutil.rmtree(run / "evaluation")
    done = uan_da("predict", run, photos / "flat" / "000.png")
    assert done.returncode == 0, done.stderr
    (run / "record.json").unlink()
    failed = uan_da("predict", run, photos / "flat")
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert "record.json" in failed.stderr


def test_classes_that_were_renamed_since_are_named_and_refused(uan_da: Any, photos: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    for domain in ("scan", "photo"):
        for name in "01":
            shutil.copytree(photos / "classes" / name, data / domain / name)
    overrides = [f"dataset={data}", "task=scan:photo", *SHORT, "train.steps_per_epoch=2", "train.batch.source=4"]
    run = train(load_recipe("digits", overrides), tmp_path / "run").folder
    (data / "photo" / "0" / next((data / "photo" / "0").iterdir()).name).unlink()
    done = uan_da("evaluate", run)
    assert done.returncode == 0, done.stderr
    assert "its data have changed since: domain 'photo': class '0': 1 image(s) removed" in done.stderr
    before = (run / "evaluation" / "last.json").read_bytes()
    for domain in ("scan", "photo"):
        (data / domain / "0").rename(data / domain / "zero")
    failed = uan_da("evaluate", run)
    assert (failed.returncode, failed.stderr.count("\n")) == (2, 1)
    assert "the class '0'" in failed.stderr
    assert "'zero'" in failed.stderr
    assert (run / "evaluation" / "last.json").read_bytes() == before
    named = uan_da("predict", run, photos / "flat" / "000.png").stdout.splitlines()[1].split(",")[1]
    assert named in "01"
    with pytest.raises(UserError, match="the data are not those it was started with"):
        train(load_recipe("digits", overrides), run, resume=True)


Failing = tuple[list[str], str]
FAILING: list[Failing] = [
    (["nowhere", "PHOTOS", "--method", "tent"], "nowhere: holds no run"),
    (["RUN", "nowhere", "--method", "tent"], "nowhere: no such folder"),
    (["RUN", "EMPTY", "--method", "tent"], "empty: holds no images"),
    (["RUN", "DAMAGED", "--method", "tent"], "broken.png: not an image"),
    (["RUN", "STRANGE", "--method", "tent"], "unknown class 'ten'"),
    (["RUN", "ONE", "--method", "tent"], "one image is too few"),
    (["RUN", "PHOTOS"], "--method"),
    (["RUN", "PHOTOS", "--method", "tnet"], "did you mean 'tent'?"),
    (["RUN", "PHOTOS", "--method", "dann"], "method 'dann' needs labelled source images"),
    (["RUN", "PHOTOS", "--method", "tent", "method.lr=-1"], "method.lr: input should be greater than 0"),
    (["RUN", "PHOTOS", "--method", "tent", "method.rate=1"], "unknown key 'rate'"),
    (["RUN", "PHOTOS", "--method", "tent", "train.epochs=1"], "unknown key 'train'"),
    (["RUN", "PHOTOS", "--method", "tent", "method.lr=1e30"], "smaller steps may help"),
    (["RUN", "PHOTOS", "--method", "tent", "--checkpoint", "oracle"], "there is no such checkpoint"),
    (["RUN", "PHOTOS", "--method", "tent", "--out", "USED"], "used: is not empty. Replace the run in it: --overwrite"),
    (["RUN", "PHOTOS", "--method", "tent", "--out", "USED", "--overwrite"], "holds something else than a run"),
    (["RUN", "PHOTOS", "--method", "tent", "--out", "FILE"], "file is a file, not a folder"),
    (["RUN", "PHOTOS", "--method", "tent", "--out", "BELOW", "--overwrite"], "file is a file, not a folder"),
    (["RUN", "PHOTOS", "--method", "tent", "--out", "RUN", "--overwrite"], "holds the run that is adapted"),
    (["RUN", "PHOTOS", "--method", "tent", "--out", "PHOTOS", "--overwrite"], "holds the images"),
]


@pytest.fixture
def places(run: Path, photos: Path, tmp_path: Path) -> dict[str, Path]:
    for name in ("empty", "used", "strange", "one"):
        (tmp_path / name).mkdir()
    (tmp_path / "used" / "file").touch()
    shutil.copytree(photos / "flat", tmp_path / "damaged")
    (tmp_path / "damaged" / "broken.png").write_bytes(b"no image")
    shutil.copytree(photos / "classes" / "0", tmp_path / "strange" / "0")
    shutil.copytree(photos / "classes" / "1", tmp_path / "strange" / "ten")
    shutil.copy(photos / "flat" / "000.png", tmp_path / "one")
    own = {name.upper(): tmp_path / name for name in ("empty", "used", "damaged", "strange", "one")}
    own |= {"FILE": tmp_path / "used" / "file", "BELOW": tmp_path / "used" / "file" / "new"}
    return {"RUN": run, "PHOTOS": photos / "flat", **own}


@pytest.mark.parametrize(("arguments", "message"), FAILING)
def test_mistakes_are_one_message_and_leave_nothing(
    uan_da: Any, places: dict[str, Path], tmp_path: Path, arguments: list[str], message: str
) -> None:
    before = sorted(tmp_path.rglob("*"))
    out = [] if "--out" in arguments else ["--out", tmp_path / "new"]
    done = uan_da("adapt", *[places.get(argument, argument) for argument in arguments], *out)
    assert done.returncode == 2, done.stdout
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["USED", "FILE", "BELOW"])
def test_a_folder_that_cannot_be_used_is_told_before_adapting(
    uan_da: Any, places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("it adapted")

    monkeypatch.setattr("uan_da.training.adapt._adapt", never)
    arguments = ["--method", "tent", "--out", places[place], "--overwrite"]
    assert uan_da("adapt", places["RUN"], places["PHOTOS"], *arguments).returncode == 2


def test_overwrite_replaces_a_run(uan_da: Any, run: Path, photos: Path, tmp_path: Path) -> None:
    for method, options in (("tent", []), ("adabn", ["--overwrite"])):
        done = uan_da("adapt", run, photos / "flat", "--method", method, "--out", tmp_path / "new", *options)
        assert done.returncode == 0, done.stderr
    assert report(tmp_path / "new")["method"]["name"] == "adabn"


def test_folders_that_are_no_classes_are_said(uan_da: Any, run: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(photos / "flat", tmp_path / "album" / "monday")
    done = uan_da("adapt", run, tmp_path / "album", "--method", "lame", "--out", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(f"warning: {tmp_path / 'album'}: none of its folders (monday) is a class of the run")
    assert "accuracy" not in done.stdout


@pytest.mark.parametrize("method", METHODS)
def test_a_recipe_cannot_train_them(uan_da: Any, method: str) -> None:
    for command in (["train", "digits"], ["recipe", "check", "digits"]):
        done = uan_da(*command, f"method={method}")
        assert done.returncode == 2
        assert len(done.stderr.splitlines()) == 1
        assert f"uan-da adapt RUN IMAGES_FOLDER --method {method}" in done.stderr


def test_predict_writes_a_table(uan_da: Any, run: Path, photos: Path, tmp_path: Path) -> None:
    one = photos / "flat" / "003.png"
    printed = uan_da("predict", run, one, photos / "classes" / "0")
    assert printed.returncode == 0, printed.stderr
    table = pd.read_csv(io.StringIO(printed.stdout))
    assert list(table.columns) == ["file", "class", "confidence"]
    assert table["file"][0] == str(one)
    assert len(table) == 1 + len(list((photos / "classes" / "0").iterdir()))
    assert bool(table["confidence"].between(0.1, 1).all())
    done = uan_da("predict", run, one, photos / "classes" / "0", "--out", tmp_path / "predictions.csv")
    assert done.stdout == f"{tmp_path / 'predictions.csv'}: {len(table)} images\n"
    assert (tmp_path / "predictions.csv").read_text() == printed.stdout
    again = uan_da("predict", run, one, "--out", tmp_path / "predictions.csv")
    assert again.returncode == 2
    assert "--overwrite" in again.stderr
    assert uan_da("predict", run, one, "--out", tmp_path / "predictions.csv", "--overwrite").returncode == 0


def test_predict_agrees_with_evaluate(uan_da: Any, run: Path, tmp_path: Path) -> None:
    examples = Digits().load("optdigits_m", "test")
    for index in range(300):  # more than a batch
        examples[index][0].save(tmp_path / f"{index:03d}.png")
    table = pd.read_csv(io.StringIO(uan_da("predict", run, tmp_path).stdout))
    uan_da("evaluate", run)
    evaluated = pd.read_csv(run / "evaluation" / "last.csv")
    evaluated = evaluated[evaluated["domain"] == "optdigits_m"].head(300)
    assert table["class"].tolist() == evaluated["predicted"].tolist()
    assert table["confidence"].to_numpy() == pytest.approx(evaluated["confidence"].to_numpy(), abs=1e-5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "PHOTOS"], "nowhere: holds no run"),
        (["RUN", "nothing.jpg"], "nothing.jpg: no such file or folder"),
        (["RUN", "EMPTY"], "empty: holds no images"),
        (["RUN", "PHOTOS", "--checkpoint", "oracle"], "there is no such checkpoint"),
        (["RUN", "PHOTOS", "--out", "nowhere/predictions.csv"], "cannot be written"),
    ],
)
def test_predict_mistakes(
    uan_da: Callable[..., Any], places: dict[str, Path], arguments: list[str], message: str
) -> None:
    done = uan_da("predict", *[places.get(argument, argument) for argument in arguments])
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stdout == ""


def test_a_domain_of_the_data_set_is_adapted_to(uan_da: Any, run: Path, tmp_path: Path) -> None:
    done = uan_da("adapt", run, "domain:optdigits_m", "--method", "uan", "method.clusters=2", "--out", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    written = report(tmp_path / "new")
    assert written["n"] == written["labelled"] == len(Digits().load("optdigits_m", "train"))
    assert sum(one["share"] for one in written["conditions"]) == pytest.approx(1)
    right = sum(one["share"] * one["accuracy"][1] for one in written["conditions"])
    assert right == pytest.approx(written["after"]["accuracy"])
    assert written["conditions"][0]["examples"][0].startswith("optdigits_m/")
    assert f"{len(written['conditions'])} conditions found" in done.stdout
    norm = Run.open(tmp_path / "new").recipe.norm
    assert (norm.name, norm.options["num_clusters"], norm.options["depth"]) == ("uan", 2, 8)
    assert uan_da("evaluate", tmp_path / "new", "--domain", "optdigits_m").returncode == 0
    done = uan_da("report", tmp_path / "new")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "new" / "report.html").read_text()
    assert page.count("data:image/png") == sum(len(one["examples"]) for one in written["conditions"])
    assert "Conditions found" in page


def test_an_unknown_domain_is_named(uan_da: Any, run: Path, tmp_path: Path) -> None:
    done = uan_da("adapt", run, "domain:optdigit_m", "--method", "uan", "--out", tmp_path / "new")
    assert done.returncode == 2
    assert "optdigits_m" in done.stderr
    assert not (tmp_path / "new").exists()


def test_an_adapted_run_has_no_training_to_continue(uan_da: Callable[..., Any], run: Path, photos: Path) -> None:
    adapted = photos.parent / "adapted"
    assert uan_da("adapt", run, photos / "flat", "--method", "adabn", "--out", adapted).returncode == 0
    done = uan_da("train", "--resume", "--out", adapted)
    assert done.returncode == 2
    assert f"{adapted}: adapt wrote this run; it has no training to continue" in done.stderr
    assert "Traceback" not in done.stderr
