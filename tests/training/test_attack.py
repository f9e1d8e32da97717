"""An attack on a run folder: damaged files, kills at every write and at random moments. ``pytest -m slow`` has the long
form; the counts are printed (``-s``)."""

import contextlib
import io
import multiprocessing
import random
import shutil
import signal
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from uan_da import files
from uan_da.cli.app import main
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.checkpoint import Manifest
from uan_da.training.run import Run
from uan_da.training.train import train

STEPS = [
    "train.epochs=null",
    "train.steps=6",
    "train.steps_per_epoch=3",
    "train.batch.source=8",
    "train.batch.target=8",
]
PLAIN = [*STEPS, "method=source_only", "norm=bn", "train.checkpoint_minutes=1e-9"]
KILLS = 14
"""SIGKILLs of each of 15 runs: 210 in all."""
LIMIT = 10
"""Seconds after which a command counts as hanging."""


def bits(run: Run) -> dict[str, Any]:
    """All that must not differ: weights, metrics, results, and which step was selected."""
    found = {name: (run.folder / name).read_bytes() for name in ("metrics.jsonl", "results.json", "model.safetensors")}
    states = {name: run.load(name, torch.device("cpu")) for name in ("last", "selected")}
    return found | {name: flat(state) for name, state in states.items()}


def flat(value: Any) -> Any:
    """A state as something that ``==`` compares bit by bit."""
    if isinstance(value, torch.Tensor):
        return value.dtype, tuple(value.shape), value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: flat(item) for key, item in value.items()}
    return [flat(item) for item in value] if isinstance(value, list | tuple) else value


# damaged files


def damage(content: bytes, rng: random.Random) -> bytes:
    """A file's content after an accident."""
    kind = rng.choice(["empty", "cut", "flip", "flip", "flip", "zeros", "noise", "longer"])
    place = rng.randrange(max(1, len(content)))
    if kind == "flip" and content:
        return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
    if kind == "zeros":
        return content[:place] + bytes(len(content) - place)
    changed = {"empty": b"", "cut": content[:place], "longer": content + rng.randbytes(9)}
    return changed.get(kind, rng.randbytes(len(content)))


def command(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of ``uan-da``; -1 for a traceback, -2 for a hang."""

    def hang(*_: object) -> None:
        raise TimeoutError

    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    argv, before = sys.argv, signal.signal(signal.SIGALRM, hang)
    sys.argv = ["uan-da", *words]
    signal.alarm(LIMIT * 6)  # the machine may be busy
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except TimeoutError:
        code = -2
    except Exception as error:
        code, _ = -1, err.write(repr(error))
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        sys.argv = argv
    out.flush()
    return code, out.buffer.getvalue().decode(), err.getvalue()  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and evaluated run."""
    folder = tmp_path_factory.mktemp("attack") / "run"
    train(load_recipe("digits", PLAIN), folder)
    assert command("evaluate", str(folder))[0] == 0
    Image.new("L", (32, 32), 99).save(folder.parent / "image.png")
    return folder


def commands(folder: Path, resume: bool) -> dict[str, list[str]]:
    """What is tried on a damaged run."""
    found = {
        "predict": ["predict", str(folder), str(folder.parent / "image.png")],
        "validators": ["validators", str(folder)],
    }
    if resume:
        found["resume"] = ["train", "digits", *PLAIN, "--out", str(folder), "--resume"]
        found["report"] = ["report", str(folder)]
    return found


def attack(victim: Path, tries: int, names: list[str], resume: bool) -> Counter[str]:
    """Damage a file, run a command; what came of it, by kind."""
    rng, counts = random.Random(tries), Counter[str]()
    whole = {name: command(*words)[1] for name, words in commands(victim, False).items()}
    expected = bits(Run(victim))
    paths = sorted(p.relative_to(victim) for p in victim.rglob("*") if p.is_file() and not p.is_symlink())
    for number in range(tries):
        copy = victim.parent / f"copy{number}"
        shutil.copytree(victim, copy, symlinks=True)
        path, name = paths[number % len(paths)], names[number // len(paths) % len(names)]
        (copy / path).write_bytes(damage((copy / path).read_bytes(), rng))
        code, out, err = command(*commands(copy, resume)[name])
        if code == 0 and name in whole and out.replace(str(copy), str(victim)) != whole[name]:
            code = 3 if "damaged" in err else -3
        if code == 0 and name == "resume" and bits(Run(copy)) != expected:
            code = -3
        what = {-1: "traceback", -2: "hang", -3: "silent difference", 0: "same answer", 3: "the one before, told"}.get(
            code, f"refused, {code}"
        )
        counts[what] += 1
        if code < 0:
            print(f"{path} {name}: {what}: {err.strip().splitlines()[-1:]}")
        shutil.rmtree(copy)
    print(dict(counts))
    return counts


def test_a_damaged_file_gives_the_same_answer_or_one_message(victim: Path) -> None:
    counts = attack(victim, 40, ["predict", "validators"], resume=False)
    assert not counts["traceback"] + counts["hang"] + counts["silent difference"]
    assert counts["same answer"]
    assert counts["the one before, told"]
    assert counts["refused, 2"]


def test_a_network_whose_answers_are_nan_is_refused_by_name(victim: Path, tmp_path: Path) -> None:
    shutil.copytree(victim, tmp_path / "run", symlinks=True)
    run = Run(tmp_path / "run")
    state = run.load("last", torch.device("cpu"))
    for value in state["model"].values():
        if value.is_floating_point():
            value.fill_(float("nan"))
    saved = run.checkpoints.write_state(7, state)
    run.checkpoints.publish(Manifest(run.identity, 7, files={"last": saved}))
    image = str(victim.parent / "image.png")
    for words, named in ((["evaluate"], "domain 'optdigits'"), (["predict", image], "image.png")):
        code, out, err = command(words[0], str(run.folder), *words[1:])
        assert (code, out) == (1, "")
        assert named in err
        assert "are no numbers" in err


@pytest.mark.slow
def test_300_damaged_files(victim: Path) -> None:
    counts = attack(victim, 300, ["predict", "validators", "resume", "report"], resume=True)
    assert not counts["traceback"] + counts["hang"] + counts["silent difference"]


# kills


class Killed(BaseException):
    """The process is gone: nothing is written any more."""


@contextlib.contextmanager
def killed_at(write: int, late: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Whatever would be written from that file on is not; ``late``: that file is there, but nothing after it."""
    seen, real = [0], files.whole_file

    @contextlib.contextmanager
    def whole_file(path: Path) -> Iterator[Any]:
        seen[0] += 1
        if seen[0] > write + late:
            raise Killed
        with real(path) as file:
            yield file
            if seen[0] == write and not late:
                file.write(b"half")
                raise Killed

    with monkeypatch.context() as patch:
        for module in ("uan_da.files", "uan_da.training.checkpoint", "uan_da.training.run"):
            patch.setattr(f"{module}.whole_file", whole_file)
        yield seen


def kill_at_writes(recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch, every: int) -> Counter[str]:
    """Kill a training at its writes, resume, and compare with the run that was left alone."""
    with killed_at(10**6, False, monkeypatch) as seen:
        expected = bits(train(recipe, folder / "whole"))
    counts = Counter(writes=seen[0])
    for write in range(1, seen[0] + 1, every):
        for late in (False, True):
            out = folder / f"{write}-{late}"
            with contextlib.suppress(Killed), killed_at(write, late, monkeypatch):
                train(recipe, out)
            run = train(recipe, out, resume=out.is_dir())
            counts["same" if bits(run) == expected else "different"] += 1
            assert not list(out.rglob(f"*{files.PARTIAL}"))
            shutil.rmtree(out)
    print(dict(counts))
    return counts


def test_a_kill_at_a_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("digits", [*PLAIN, "train.steps=2", "train.steps_per_epoch=2"])
    assert not kill_at_writes(recipe, tmp_path, monkeypatch, every=7)["different"]


@pytest.mark.slow
def test_a_kill_at_every_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not kill_at_writes(load_recipe("digits", PLAIN), tmp_path, monkeypatch, every=1)["different"]


def train_quietly(overrides: list[str], folder: Path, resume: bool) -> None:
    torch.set_num_threads(1)
    train(load_recipe("digits", overrides), folder, resume=resume)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dann", "mcd", "adamatch", "mean_teacher", "dirt_t"])
@pytest.mark.parametrize("norm", ["bn", "dsbn", "uan"])
def test_sigkills_at_random_moments_change_nothing(tmp_path: Path, method: str, norm: str) -> None:
    """Each kill comes shortly after a file of a random step appears, whole or half."""
    rng, context = random.Random(f"{method} {norm}"), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["uan_da.training.train", "uan_da.recipe", "sklearn.metrics"])
    overrides = [*STEPS, f"method={method}", f"norm={norm}", "train.checkpoint_minutes=1e-9"]
    train_quietly(overrides, tmp_path / "whole", False)
    out, killed = tmp_path / "run", 0
    while True:
        process = context.Process(target=train_quietly, args=(overrides, out, out.is_dir()))
        process.start()
        if killed == KILLS:
            break
        step = min(5, rng.randrange(2) + max([int(path.stem[5:]) for path in out.rglob("step-*.json")], default=0))
        while process.is_alive() and not list(out.rglob(f"step-{step}.*")):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        killed += process.is_alive()
        process.kill()
        process.join()
    process.join()
    assert process.exitcode == 0
    print(f"{method} {norm}: {killed} kills")
    assert bits(Run(out)) == bits(Run(tmp_path / "whole"))
