"""What works on this machine, and what to do where something does not."""

import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import torch
from torch import distributed, nn

from uan_da.norms.uan.kernels.serving import kernels_on, serves
from uan_da.recipe import load_recipe
from uan_da.training.device import choose_device
from uan_da.training.training import Training

GIB = 1024**3
PACKAGES = ("uan-da", "torch", "torchvision", "numpy", "numba")
SELF_TEST = ["method=dann", "train.epochs=2", "train.steps_per_epoch=20"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``ok``; ``note``, which a training can do without; or a ``defect``."""

    name: str
    state: Literal["ok", "note", "defect"]
    what: str
    remedy: str = ""
    """What to do; empty where nothing is."""


def examine(device: str = "auto") -> Iterator[Finding]:
    """Look at one thing after the other; some seconds in all.

    Raises:
        UserError: PyTorch does not find the device.
    """
    where = choose_device(device)
    checks: dict[str, Callable[[torch.device], Finding]] = {
        "versions": _versions,
        "device": _device,
        "bf16": lambda device: _half("bf16", device, torch.bfloat16),
        "fp16": lambda device: _half("fp16", device, torch.float16),
        "UAN kernels": _kernels,
        "compiler": _compiler,
        "processes": _processes,
        "memory": _memory,
        "disk": _disk,
        "self-test": _self_test,
    }
    for name, check in checks.items():
        try:
            yield check(where)
        except Exception as error:  # whatever it is: the other checks follow
            what = " ".join(f"{type(error).__name__}: {error}".split()[:40])
            yield Finding(name, "defect", what, "report it with this output")


def _versions(_: torch.device) -> Finding:
    found = [f"Python {platform.python_version()}"]
    for package in PACKAGES:
        try:
            found.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            return Finding("versions", "defect", f"{package} is not installed", f"pip install {package}")
    return Finding("versions", "ok", ", ".join(found))


def _device(device: torch.device) -> Finding:
    if device.type == "cuda":
        count, names = torch.cuda.device_count(), torch.cuda.get_device_name(device)
        return Finding("device", "ok", f"{device}: {names}, CUDA {torch.version.cuda}, {count} in all")
    what = f"{device}: {torch.get_num_threads()} threads, {os.cpu_count()} cores"
    if shutil.which("nvidia-smi") and not torch.cuda.is_available():
        return Finding(
            "device",
            "defect",
            f"{what}; there is an NVIDIA driver, and PyTorch does not reach a GPU",
            "install the PyTorch build of your CUDA driver: https://pytorch.org/get-started",
        )
    return Finding("device", "ok", what)


def _half(name: str, device: torch.device, dtype: torch.dtype) -> Finding:
    """A convolution and its gradient under autocast."""
    layer = nn.Conv2d(3, 8, 3).to(device)
    try:
        with torch.autocast(device.type, dtype):
            output = layer(torch.randn(4, 3, 8, 8, device=device))
        output.float().square().mean().backward()
    except RuntimeError as error:
        return Finding(name, "note", str(error).splitlines()[0], "leave train.precision at fp32")
    assert layer.weight.grad is not None
    if output.dtype != dtype or not bool(layer.weight.grad.isfinite().all()):
        return Finding(name, "note", f"autocast gives {output.dtype}", "leave train.precision at fp32")
    return Finding(name, "ok", f"train.precision={name} runs on {device}")


def _kernels(device: torch.device) -> Finding:
    if device.type == "cuda":
        what = "no GPU has run them yet: the reference serves, unless the norm has `backend: fused`"
        return Finding("UAN kernels", "note", what)
    if device.type != "cpu":
        return Finding("UAN kernels", "note", f"there are none for {device.type}: the reference serves")
    if kernels_on("cpu") is None or not serves(torch.zeros(2, 1, 2), torch.float32):
        return Finding(
            "UAN kernels",
            "note",
            "Numba cannot compile them: the reference serves, slower",
            "pip install --upgrade numba, and a folder that can be written: NUMBA_CACHE_DIR",
        )
    return Finding("UAN kernels", "ok", "compiled by Numba")


def _compiler(device: torch.device) -> Finding:
    compiled = torch.compile(lambda x: x.sin() + 1)
    x = torch.randn(8, device=device)
    try:
        good = torch.allclose(compiled(x), x.sin() + 1, atol=1e-5)
    except Exception as error:  # the compiler's own, of many kinds
        what = f"torch.compile fails: {str(error).splitlines()[0]}"
        return Finding("compiler", "note", what, "install a C++ compiler (g++), or leave train.compile out")
    return Finding("compiler", "ok" if good else "defect", "torch.compile works" if good else "torch.compile miscounts")


def _processes(device: torch.device) -> Finding:
    backend, there = ("nccl", distributed.is_nccl_available) if device.type == "cuda" else ("gloo", _has_gloo)
    if distributed.is_available() and there():
        return Finding("processes", "ok", f"--devices N by {backend}")
    return Finding("processes", "note", f"this PyTorch has no {backend}", "train in one process")


def _has_gloo() -> bool:
    return bool(distributed.is_gloo_available())


def _memory(device: torch.device) -> Finding:
    free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_AVPHYS_PAGES")
    what = f"{free / GIB:.1f} GiB free"
    if device.type == "cuda":
        gpu, whole = torch.cuda.mem_get_info(device)
        what += f"; GPU {gpu / GIB:.1f} of {whole / GIB:.1f} GiB free"
    if free < GIB:
        return Finding("memory", "note", what, "close other programs, or take smaller batches: train.batch")
    return Finding("memory", "ok", what)


def _disk(_: torch.device) -> Finding:
    """Where runs are written, and where temporary files go."""
    folders = {"here": Path.cwd(), "temporary": Path(tempfile.gettempdir())}
    free = {name: shutil.disk_usage(folder).free for name, folder in folders.items()}
    what = ", ".join(f"{name} ({folders[name]}) {size / GIB:.1f} GiB free" for name, size in free.items())
    for name, folder in folders.items():
        try:
            with tempfile.NamedTemporaryFile(dir=folder):
                pass
        except OSError as error:
            return Finding("disk", "defect", f"{folder}: {error.strerror}", "run it where you may write, or give --out")
        if free[name] < GIB:
            return Finding("disk", "note", what, "a run of a ResNet-50 takes about 1 GiB: free some, or give --out")
    return Finding("disk", "ok", what)


def _self_test(device: torch.device) -> Finding:
    """Forty steps of DANN on the bundled digits: their loss falls."""
    training = Training.build(load_recipe("digits", SELF_TEST), device)
    losses = []
    while training.step < training.total_steps:
        training.advance()
        if training.at_epoch_end:
            losses.append(training.take_averages()["source"])
    what = f"the source's loss on the digits: {losses[0]:.2f}, then {losses[-1]:.2f}"
    if losses[-1] < losses[0]:
        return Finding("self-test", "ok", what)
    return Finding("self-test", "defect", what, "try --device cpu; if that is well, the GPU or its driver is not")
