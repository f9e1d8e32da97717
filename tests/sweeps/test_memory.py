from pathlib import Path

from uan_da.sweeps.memory import free_host

MIB = 1024**2


def group(folder: Path, limit: str) -> Path:
    """A control group as the kernel shows it: 700 MiB used, of which 200 MiB are files' pages that nobody needs."""
    (folder / "memory.max").write_text(f"{limit}\n")
    (folder / "memory.current").write_text(f"{700 * MIB}\n")
    (folder / "memory.stat").write_text(f"anon {400 * MIB}\nactive_file {100 * MIB}\ninactive_file {200 * MIB}\n")
    return folder


def test_pages_of_files_that_nobody_needs_are_free(tmp_path: Path) -> None:
    assert free_host(group(tmp_path, str(800 * MIB))) == 300 * MIB


def test_a_group_that_has_used_up_its_memory_has_none(tmp_path: Path) -> None:
    assert free_host(group(tmp_path, str(400 * MIB))) == 0


def test_without_a_limit_the_machine_decides(tmp_path: Path) -> None:
    assert free_host(group(tmp_path, "max")) > 800 * MIB
    assert free_host(tmp_path / "none") > 800 * MIB
