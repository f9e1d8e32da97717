import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from uan_da.data.unpack import ALLOWANCE, RATIO, UnsafeArchive, unpack
from uan_da.errors import UserError

Member = tuple[str, bytes]


def make_tar(path: Path, *members: Member | tarfile.TarInfo, mode: str = "w:gz") -> Path:
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            if isinstance(member, tarfile.TarInfo):
                archive.addfile(member)
                continue
            info = tarfile.TarInfo(member[0])
            info.size, info.mode = len(member[1]), 0o4777
            archive.addfile(info, io.BytesIO(member[1]))
    return path


def make_zip(path: Path, *members: Member) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return path


MAKERS = pytest.mark.parametrize("maker", [make_tar, make_zip], ids=["tar", "zip"])


def refused(archive: Path, folder: Path, message: str) -> None:
    """Refused with the message, and nothing is left: neither in the folder nor beside or above it."""
    before = sorted(folder.parent.parent.rglob("*"))
    with pytest.raises(UnsafeArchive, match=message):
        unpack(archive, folder)
    assert sorted(folder.parent.parent.rglob("*")) == before


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deep" / "data").mkdir(parents=True)
    return tmp_path / "deep" / "data" / "set"


@MAKERS
def test_files_and_folders(tmp_path: Path, folder: Path, maker: Callable[..., Path]) -> None:
    unpack(maker(tmp_path / "x", ("a/1.jpg", b"one"), ("a/b/2.jpg", b"two"), ("c.txt", b"")), folder)
    assert {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()} == {
        "a/1.jpg": b"one",
        "a/b/2.jpg": b"two",
        "c.txt": b"",
    }
    assert not (folder / "a" / "1.jpg").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)
    assert list(folder.parent.iterdir()) == [folder]


@MAKERS
def test_a_single_folder_becomes_the_folder(tmp_path: Path, folder: Path, maker: Callable[..., Path]) -> None:
    unpack(maker(tmp_path / "x", ("cifar-10-batches-bin/1.bin", b"one")), folder)
    assert [path.name for path in folder.iterdir()] == ["1.bin"]


@MAKERS
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "/tmp/evil", "a\\..\\..\\evil", "C:\\evil", "C:evil"])
def test_paths_that_lead_out(tmp_path: Path, folder: Path, maker: Callable[..., Path], name: str) -> None:
    refused(maker(tmp_path / "x", ("good.txt", b"good"), (name, b"evil")), folder, "leads out of the folder")


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, folder: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("link")
    info.type, info.linkname = kind, "/etc/passwd"
    refused(make_tar(tmp_path / "x", ("good", b"good"), info, ("link/file", b"evil")), folder, "'link' is a link or a")


def test_a_link_in_a_zip(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w") as archive:
        info = zipfile.ZipInfo("link")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    refused(tmp_path / "x", folder, "'link' is a link")


@MAKERS
def test_a_bomb(tmp_path: Path, folder: Path, maker: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uan_da.data.unpack.ALLOWANCE", 1000)
    bomb = maker(tmp_path / "x", ("bomb", bytes(2_000_000)))
    assert RATIO * bomb.stat().st_size + 1000 < 2_000_000 < ALLOWANCE
    refused(bomb, folder, "would unpack to more than")


@MAKERS
def test_too_many_files(tmp_path: Path, folder: Path, maker: Callable[..., Path], monkeypatch) -> None:
    monkeypatch.setattr("uan_da.data.unpack.ENTRIES", 5)
    refused(maker(tmp_path / "x", *[(str(i), b"") for i in range(6)]), folder, "or 5 files")


def test_a_zip_that_lies_about_a_size(tmp_path: Path, folder: Path) -> None:
    """The sizes in its heads say 10 bytes, its stream holds a million."""
    archive = make_zip(tmp_path / "x", ("bomb", bytes(1_000_000)))
    true, lie = (1_000_000).to_bytes(4, "little"), (10).to_bytes(4, "little")
    archive.write_bytes(archive.read_bytes().replace(true, lie))
    with pytest.raises(UserError):
        unpack(archive, folder)
    assert list(folder.parent.iterdir()) == []


def test_a_name_that_stands_twice(tmp_path: Path, folder: Path) -> None:
    refused(make_tar(tmp_path / "x", ("a", b"1"), ("a", b"2")), folder, "'a' stands twice")


@pytest.mark.parametrize("cut", [0, 40, 300])
def test_what_is_no_whole_archive(tmp_path: Path, folder: Path, cut: int) -> None:
    archive = make_tar(tmp_path / "x", ("a", os.urandom(5000)))
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(UserError, match="x: "):
        unpack(archive, folder)
    assert list(folder.parent.iterdir()) == []
