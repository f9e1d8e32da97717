"""What a number may depend on beside the recipe."""

import os
import platform
import subprocess
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch


def environment() -> dict[str, Any]:
    """Versions, machine, threads, and the commit of the working directory."""
    packages = ("uan-da", "torch", "torchvision", "numpy", "scikit-learn")
    return {
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in packages},
        "machine": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "git_commit": _git_commit(),
    }


def _version(name: str) -> str | None:
    """None: it runs from a folder where nobody installed it."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git_commit() -> str | None:
    command = ["git", "rev-parse", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=5).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
