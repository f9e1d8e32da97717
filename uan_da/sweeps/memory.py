"""How much memory there is, and how much a run takes."""

import os
import resource
import sys
from pathlib import Path

import torch

HOST = "host"
CONTEXT = 600 * 1024**2
"""Bytes of a CUDA device that a process takes before its first tensor; the allocator does not count them."""


def peak(device: str) -> dict[str, int]:
    """Bytes that this process has taken at most, of the host and of ``device``."""
    unit = 1 if sys.platform == "darwin" else 1024
    used = {HOST: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    if device.startswith("cuda"):
        used[device] = torch.cuda.max_memory_reserved(device) + CONTEXT
    return used


def free(device: str) -> dict[str, int]:
    """Bytes of a CUDA ``device`` that nobody uses; nothing for another device, whose memory is the host's."""
    return {device: torch.cuda.mem_get_info(device)[0]} if device.startswith("cuda") else {}


def free_host(group: Path = Path("/sys/fs/cgroup")) -> int:
    """Bytes that processes may still take here: of the machine, and of the control ``group`` where there is one."""
    available = _field(Path("/proc/meminfo"), "MemAvailable:")
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if available is None else 1024 * available
    limit, used = (_number(group / name) for name in ("memory.max", "memory.current"))
    if limit is None:
        return machine
    cache = _field(group / "memory.stat", "inactive_file") or 0  # of files that were read: given up when asked for
    return min(machine, max(0, limit - (used or 0) + cache))


def _field(path: Path, name: str) -> int | None:
    lines = path.read_text().splitlines() if path.is_file() else []
    return next((int(line.split()[1]) for line in lines if line.startswith(f"{name} ")), None)


def _number(path: Path) -> int | None:
    text = path.read_text().strip() if path.is_file() else ""
    return int(text) if text.isdigit() else None
