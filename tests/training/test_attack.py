"""An attack on a run folder: damaged files, kills at every write and at random moments. ``pytest -m slow`` has the long
form; the counts are printed (``-s``)."""

import contextlib
import io
import itertools
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from uan_da import files
from uan_da.cli.app import main
from uan_da.data.digits import Digits
from uan_da.recipe import Recipe, load_recipe
from uan_da.training.checkpoint import Manifest
from uan_da.training.run import Run
from uan_da.training.train import train

STEPS = [
    "backbone.width=4",
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
"""Seconds of work after which a command counts as hanging."""
PATIENCE = 6
"""As many times that it may wait without doing anything: on a busy machine it may get no time at all."""


class Hang(BaseException):
    """A command does not come to its end."""


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

PLACES = ("gone", "a folder", "a FIFO", "a link to itself")
"""What may stand where a file was."""


def damage(path: Path, rng: random.Random) -> None:
    """A file after an accident: other content, or something else in its place."""
    content = path.read_bytes()
    kind = rng.choice(["empty", "cut", "cut", "flip", "flip", "flip", "zeros", "noise", "longer", *PLACES])
    if kind in PLACES:
        path.unlink()
        if kind == "a folder":
            path.mkdir()
        elif kind == "a FIFO":
            os.mkfifo(path)
        elif kind == "a link to itself":
            path.symlink_to(path.name)
    else:
        path.write_bytes(changed(kind, content, rng))


def changed(kind: str, content: bytes, rng: random.Random) -> bytes:
    place = rng.randrange(max(1, len(content)))
    if kind == "flip" and content:
        return content[:place] + bytes([content[place] ^ 1 << rng.randrange(8)]) + content[place + 1 :]
    if kind == "zeros":
        return content[:place] + bytes(len(content) - place)
    others = {"empty": b"", "cut": content[:place], "longer": content + rng.randbytes(9)}
    return others.get(kind, rng.randbytes(len(content)))


def command(*words: str) -> tuple[int, str, str]:
    """Exit code, standard output and error of ``uan-da``; -1 for a traceback, -2 for a hang."""

    used, idle = time.process_time(), 0

    def hang(number: int, _: object) -> None:
        nonlocal used, idle
        idle = idle + 1 if time.process_time() - used < LIMIT / 100 else 0
        used = time.process_time()
        if number == signal.SIGPROF or idle == PATIENCE:
            raise Hang

    out, err = io.TextIOWrapper(io.BytesIO()), io.StringIO()
    argv, before = sys.argv, {number: signal.signal(number, hang) for number in (signal.SIGALRM, signal.SIGPROF)}
    sys.argv = ["uan-da", *words]
    signal.setitimer(signal.ITIMER_PROF, LIMIT)
    signal.setitimer(signal.ITIMER_REAL, LIMIT, LIMIT)
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            main()
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    except Hang:
        code = -2
    except Exception as error:
        code, _ = -1, err.write("".join(traceback.format_exception(error)))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.argv = argv
    out.flush()
    return code, out.buffer.getvalue().decode(), err.getvalue()  # type: ignore[attr-defined]


def few_digits(folder: Path) -> list[str]:
    """A data set of 30 images a part, so that thousands of commands on a run of it end soon: what names it."""
    for name in ("optdigits", "optdigits_m"):
        arrays = dict[str, Any]()
        for part in ("train", "test"):
            examples = Digits().load(name, part)
            arrays |= {f"{part}_images": examples.images[:30], f"{part}_labels": examples.labels[:30]}
        np.savez(folder / f"{name}.npz", **arrays)
    classes = [str(digit) for digit in range(10)]
    card = {"adapter": "npz", "classes": classes, "folder": ".", "domains": {"optdigits": {}, "optdigits_m": {}}}
    (folder / "few.yaml").write_text(json.dumps(card))
    return [f"dataset={folder / 'few.yaml'}"]


@pytest.fixture(scope="module")
def victim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished and evaluated run."""
    folder = tmp_path_factory.mktemp("attack") / "run"
    train(load_recipe("digits", [*PLAIN, *few_digits(folder.parent)]), folder)
    assert command("evaluate", str(folder))[0] == 0
    Image.new("L", (32, 32), 99).save(folder.parent / "image.png")
    return folder


COMMANDS = {"predict": 14, "validators": 3, "evaluate": 1, "report": 1, "resume": 1}
"""What is tried on a damaged run, and how often in twenty: the slow ones are tried less."""


def words(name: str, folder: Path) -> list[str]:
    """A command on a run folder."""
    if name == "resume":
        data = f"dataset={folder.parent / 'few.yaml'}"
        return ["train", "digits", *PLAIN, data, "--out", str(folder), "--resume"]
    return [name, str(folder), *([str(folder.parent / "image.png")] if name == "predict" else [])]


def answer(name: str, folder: Path) -> tuple[int, Any, str]:
    """A command's exit code, what it answers and writes, and what it says of it."""
    with pytest.MonkeyPatch.context() as patch:  # figures are made, but not rendered: that is most of a report's time
        patch.setattr("matplotlib.figure.Figure.savefig", lambda self, file, **_: file.write("<svg></svg>"))
        code, out, err = command(*words(name, folder))
    if name == "resume" and code == 0:
        return code, bits(Run(folder)), err
    written = folder / "evaluation" / "last.json", folder / "evaluation" / "last.csv"
    left = [path.read_bytes() for path in written] if name in ("evaluate", "report") and code == 0 else []
    return code, (out.replace(str(folder), "RUN"), left), err


def fate(code: int, same: bool, err: str) -> str:
    """What came of a damage, by kind."""
    if code == 0 and not same:
        return "the one before, told" if "checkpoint before" in err else "silent difference"
    if code > 0 and not err.strip():
        return "refused without a word"
    return {0: "same answer", -1: "traceback", -2: "hang"}.get(code, f"refused, {code}")


def attack(victim: Path, ways: int, names: list[str], chosen: slice) -> Counter[str]:
    """Damage each of the chosen files in so many ways, run a command on each; what came of it."""
    counts, expected = Counter[str](), {name: answer(name, victim)[1] for name in dict.fromkeys(names)}
    paths = sorted(p.relative_to(victim) for p in victim.rglob("*") if p.is_file() and not p.is_symlink())[chosen]
    numbers = itertools.count()  # each copy has a name of its own: Python tells a warning of the same words once
    for path in paths:
        rng, own = random.Random(f"{path} {ways}"), Counter[str]()
        for way in range(ways):
            copy, name = victim.parent / f"copy{next(numbers)}", names[way % len(names)]
            shutil.copytree(victim, copy, symlinks=True)
            damage(copy / path, rng)
            code, found, err = answer(name, copy)
            own[kind := fate(code, found == expected[name], err)] += 1
            if kind not in FINE:
                print(f"{path} way {way} {name}: {kind}: {err.strip()}")
            shutil.rmtree(copy)
        print(f"{path}: {dict(own)}")
        counts += own
    print(f"{len(paths)} files in {ways} ways each: {dict(counts)}")
    return counts


FINE = {"same answer", "the one before, told", "refused, 1", "refused, 2"}


def test_a_damaged_file_gives_the_same_answer_or_one_message(victim: Path) -> None:
    counts = attack(victim, 2, ["predict", "validators"], slice(None))
    assert set(counts) <= FINE
    assert {"same answer", "the one before, told", "refused, 2"} <= set(counts)


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
    for given, named in ((["evaluate"], "domain 'optdigits'"), (["predict", image], "image.png")):
        code, out, err = command(given[0], str(run.folder), *given[1:])
        assert (code, out) == (1, "")
        assert named in err
        assert "are not finite" in err


@pytest.mark.slow
@pytest.mark.parametrize("part", range(4))  # for several workers
def test_300_ways_to_damage_each_file(victim: Path, part: int) -> None:
    names = [name for name, times in COMMANDS.items() for _ in range(times)]
    assert set(attack(victim, 300, names, slice(part, None, 4))) <= FINE


# kills


class Killed(BaseException):
    """The process is gone: nothing is written any more."""


@contextlib.contextmanager
def killed_at(write: int, late: bool, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Path]]:
    """Whatever would be written from that file on is not; ``late``: that file is there, but nothing after it."""
    seen, real = list[Path](), files.whole_file

    @contextlib.contextmanager
    def whole_file(path: Path) -> Iterator[Any]:
        seen.append(path)
        if len(seen) > write + late:
            raise Killed
        with real(path) as file:
            yield file
            if len(seen) == write and not late:
                file.write(b"half")
                raise Killed

    with monkeypatch.context() as patch:
        for module in ("uan_da.files", "uan_da.training.checkpoint", "uan_da.training.run"):
            patch.setattr(f"{module}.whole_file", whole_file)
        yield seen


def kill_at_writes(
    recipe: Recipe, folder: Path, monkeypatch: pytest.MonkeyPatch, chosen: slice, *, of_baseline: bool = False
) -> Counter[str]:
    """Kill a training at some of its writes, resume, and compare with the run that was left alone; ``of_baseline``: at
    those of the baseline beside it."""
    with killed_at(10**6, False, monkeypatch) as seen:
        expected = bits(train(recipe, folder / "whole", with_baseline=of_baseline))
    writes = [number for number, path in enumerate(seen, 1) if ("baseline" in path.parts) == of_baseline]
    counts = Counter(writes=len(writes))
    for write in writes[chosen]:
        for late in (False, True):
            out = folder / f"{write}-{late}"
            with contextlib.suppress(Killed), killed_at(write, late, monkeypatch):
                train(recipe, out, with_baseline=of_baseline)
            run = train(recipe, out, with_baseline=of_baseline, resume=out.is_dir())
            counts["same" if bits(run) == expected else "different"] += 1
            assert not list(out.rglob(f"*{files.PARTIAL}"))
            shutil.rmtree(out)
    print(dict(counts))
    return counts


def test_a_kill_at_a_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("digits", [*PLAIN, "train.steps=2", "train.steps_per_epoch=2"])
    assert not kill_at_writes(recipe, tmp_path, monkeypatch, slice(None, None, 9))["different"]


def test_a_kill_in_the_first_writes_of_a_baseline_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its recipe is written, and before its first checkpoint."""
    recipe = load_recipe("digits", [*PLAIN, "train.steps=1", "train.steps_per_epoch=1"])
    assert not kill_at_writes(recipe, tmp_path, monkeypatch, slice(2, 3), of_baseline=True)["different"]


@pytest.mark.slow
def test_a_kill_at_every_write_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not kill_at_writes(load_recipe("digits", PLAIN), tmp_path, monkeypatch, slice(None))["different"]


@pytest.mark.slow
def test_a_kill_at_every_write_of_a_baseline_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = load_recipe("digits", [*PLAIN, "train.steps=1", "train.steps_per_epoch=1"])
    assert not kill_at_writes(recipe, tmp_path, monkeypatch, slice(None), of_baseline=True)["different"]


def train_quietly(overrides: list[str], folder: Path, resume: bool, with_baseline: bool) -> None:
    torch.set_num_threads(1)
    train(load_recipe("digits", overrides), folder, resume=resume, with_baseline=with_baseline)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dann", "mcd", "adamatch", "mean_teacher", "dirt_t"])
@pytest.mark.parametrize("norm", ["bn", "dsbn", "uan"])
def test_sigkills_at_random_moments_change_nothing(tmp_path: Path, method: str, norm: str) -> None:
    assert kill_at_moments(tmp_path, method, norm, KILLS) >= KILLS


def test_two_sigkills_at_random_moments_change_nothing(tmp_path: Path) -> None:
    assert kill_at_moments(tmp_path, "mcd", "uan", 2) == 2


@pytest.mark.slow
@pytest.mark.parametrize("method", ["dann", "adamatch"])
def test_sigkills_with_a_baseline_change_nothing(tmp_path: Path, method: str) -> None:
    """Half of them come while the baseline beside the run starts and trains."""
    assert kill_at_moments(tmp_path, method, "uan", 2 * KILLS, with_baseline=True) >= 2 * KILLS


def kill_at_moments(folder: Path, method: str, norm: str, kills: int, *, with_baseline: bool = False) -> int:
    """Each kill comes shortly after a file of a random step appears, whole or half; at the end the run is the one that
    was left alone."""
    rng, context = random.Random(f"{method} {norm}"), multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["uan_da.training.train", "uan_da.recipe", "sklearn.metrics"])
    overrides = [*STEPS, f"method={method}", f"norm={norm}", "train.checkpoint_minutes=1e-9"]
    whole, out, killed = folder / "whole", folder / "run", Counter[str]()
    train_quietly(overrides, whole, False, with_baseline)
    while True:
        process = context.Process(target=train_quietly, args=(overrides, out, out.is_dir(), with_baseline))
        process.start()
        if killed.total() >= kills:
            break
        part = out / "baseline" if with_baseline and 2 * killed.total() >= kills else out
        step = min(
            5,
            rng.randrange(2)
            + max([int(path.stem[5:]) for path in (part / "checkpoints").glob("step-*.json")], default=0),
        )
        while process.is_alive() and not list((part / "checkpoints").glob(f"step-{step}.*")):
            time.sleep(0.02)
        time.sleep(rng.uniform(0, 0.2))
        killed[part.name] += process.is_alive()
        process.kill()
        process.join()
    process.join()
    assert process.exitcode == 0
    print(f"{method} {norm}: {dict(killed)} kills")
    for part in (".", "baseline") if with_baseline else (".",):
        assert bits(Run(out / part)) == bits(Run(whole / part))
    return killed.total()
