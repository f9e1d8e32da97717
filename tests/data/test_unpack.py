import bz2
import contextlib
import gzip
import io
import lzma
import os
import random
import shutil
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
    refused(make_tar(tmp_path / "x", ("a", b"1"), ("a", b"2")), folder, "'a' appears twice")


@pytest.mark.parametrize("cut", [0, 40, 300])
def test_what_is_no_whole_archive(tmp_path: Path, folder: Path, cut: int) -> None:
    archive = make_tar(tmp_path / "x", ("a", os.urandom(5000)))
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(UserError, match="x: "):
        unpack(archive, folder)
    assert list(folder.parent.iterdir()) == []


def pack(how: str, content: bytes) -> bytes:
    return {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress}[how](content)


@pytest.mark.parametrize("how", ["gz", "bz2", "xz"])
def test_every_compression_in_one_pass(tmp_path: Path, folder: Path, how: str) -> None:
    unpack(make_tar(tmp_path / "x", ("a/1.jpg", b"one"), ("a/2.jpg", os.urandom(300_000)), mode=f"w:{how}"), folder)
    assert (folder / "1.jpg").read_bytes() == b"one"
    assert (folder / "2.jpg").stat().st_size == 300_000


@pytest.mark.parametrize("how", ["gz", "xz"])
def test_streams_one_after_the_other(tmp_path: Path, folder: Path, how: str) -> None:
    plain = make_tar(tmp_path / "x", ("a/1.jpg", b"one"), mode="w").read_bytes()
    (tmp_path / "y").write_bytes(pack(how, plain[:700]) + pack(how, plain[700:]))
    unpack(tmp_path / "y", folder)
    assert (folder / "1.jpg").read_bytes() == b"one"


@pytest.mark.parametrize("how", ["gz", "bz2", "xz", "zip"])
def test_errors_of_decompressors_are_one_message(tmp_path: Path, folder: Path, how: str) -> None:
    maker = make_zip if how == "zip" else make_tar
    whole = maker(
        tmp_path / "x", ("a", os.urandom(2000)), ("b", bytes(9000)), **({} if how == "zip" else {"mode": f"w:{how}"})
    )
    content, draw = whole.read_bytes(), random.Random(0)
    for _ in range(60):
        damaged = bytearray(content)
        for _ in range(draw.randint(1, 5)):
            damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
        whole.write_bytes(damaged[: draw.choice([len(damaged), draw.randrange(len(damaged))])])
        with contextlib.suppress(UserError):
            unpack(whole, folder)
        assert list(folder.parent.iterdir()) in ([], [folder])
        shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("kind", [tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK])
def test_a_head_that_would_fill_the_memory(tmp_path: Path, folder: Path, kind: bytes) -> None:
    """A megabyte of gzip that holds a head of a gigabyte: refused by what it says, before it is read."""
    head = tarfile.TarInfo("x")
    head.type, head.size = kind, 1024**3
    (tmp_path / "x").write_bytes(pack("gz", head.tobuf() + bytes(1_000_000)))
    refused(tmp_path / "x", folder, "a head of 1073741824 bytes")


def test_content_without_end_is_not_read_to_its_end(tmp_path: Path, folder: Path, monkeypatch) -> None:
    monkeypatch.setattr("uan_da.data.unpack.ALLOWANCE", 1000)
    (tmp_path / "x").write_bytes(pack("gz", b"".join(tarfile.TarInfo(str(i)).tobuf() for i in range(9000))))
    with pytest.raises(UserError, match="would unpack to more than"):
        unpack(tmp_path / "x", folder)


def test_a_dictionary_that_would_fill_the_memory(tmp_path: Path, folder: Path) -> None:
    plain = make_tar(tmp_path / "x", ("a", b"1"), mode="w").read_bytes()
    alone = bytearray(lzma.compress(plain, format=lzma.FORMAT_ALONE))
    alone[1:5] = (1024**3).to_bytes(4, "little")  # to pack it so would take that memory, too
    (tmp_path / "y").write_bytes(alone)
    with pytest.raises(UserError, match="Memory usage limit"):
        unpack(tmp_path / "y", folder)


def test_a_zip_packed_by_lzma_is_refused(tmp_path: Path, folder: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x", "w", zipfile.ZIP_LZMA) as opened:
        opened.writestr("a", b"1")
    refused(tmp_path / "x", folder, "whose memory has no limit")


def test_an_empty_archive(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(UserError, match="it is empty"):
        unpack(make_tar(tmp_path / "x"), folder)
