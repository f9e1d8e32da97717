from pathlib import Path

import numpy as np
import pytest

from uan_da.data.download import DownloadFailed, download

CONTENT = np.random.default_rng(0).bytes(700_000)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uan_da.data.download.PAUSE", 0)


@pytest.fixture
def file(site) -> str:
    site.files["/x.bin"] = CONTENT
    return f"{site.url}/x.bin"


def test_a_whole_file(site, file: str, tmp_path: Path) -> None:
    seen = []
    download(file, tmp_path / "to" / "x.bin", lambda done, total: seen.append((done, total)))
    assert (tmp_path / "to" / "x.bin").read_bytes() == CONTENT
    assert [path.name for path in (tmp_path / "to").iterdir()] == ["x.bin"]
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)


def test_a_break_is_gone_on_with(site, file: str, tmp_path: Path) -> None:
    site.break_after, site.breaks = 300_000, 2
    download(file, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == CONTENT
    assert site.requests == [None, "bytes=300000-", "bytes=600000-"]


def test_a_later_call_goes_on_where_an_earlier_one_stopped(site, file: str, tmp_path: Path) -> None:
    site.break_after, site.breaks = 0, 99
    (tmp_path / "x.bin.part").write_bytes(CONTENT[:1000])
    (tmp_path / "x.bin.part.tag").write_text('"v1"')
    with pytest.raises(DownloadFailed, match="broke off after 1000 bytes"):
        download(file, tmp_path / "x.bin")
    assert not (tmp_path / "x.bin").exists()
    assert len(site.requests) == 3
    site.breaks = 0
    download(file, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == CONTENT
    assert site.requests[-1] == "bytes=1000-"


@pytest.mark.parametrize("change", ["the file", "no tag", "no ranges", "weak tag"])
def test_it_starts_anew_where_going_on_would_mix_two_files(site, file: str, tmp_path: Path, change: str) -> None:
    (tmp_path / "x.bin.part").write_bytes(b"x" * 1000)
    (tmp_path / "x.bin.part.tag").write_text({"weak tag": 'W/"v1"', "no ranges": '"v1"'}.get(change, '"v0"'))
    site.ignore_range = change == "no ranges"
    if change == "no tag":
        (tmp_path / "x.bin.part.tag").unlink()
    download(file, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file(site, file: str, tmp_path: Path) -> None:
    (tmp_path / "x.bin.part").write_bytes(CONTENT + b"more")
    (tmp_path / "x.bin.part.tag").write_text('"v1"')
    download(file, tmp_path / "x.bin")
    assert (tmp_path / "x.bin").read_bytes() == CONTENT


def test_refusals(site, file: str, tmp_path: Path) -> None:
    with pytest.raises(DownloadFailed, match="answers 404"):
        download(f"{site.url}/none", tmp_path / "x")
    for url in ("file:///etc/passwd", "ftp://127.0.0.1/x"):
        with pytest.raises(DownloadFailed, match="neither http nor https"):
            download(url, tmp_path / "x")
    site.server.shutdown()
    site.server.server_close()
    with pytest.raises(DownloadFailed, match="broke off after 0 bytes"):
        download(file, tmp_path / "x")
