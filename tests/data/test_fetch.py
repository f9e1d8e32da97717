import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from uan_da.data.card import Card
from uan_da.data.card_dataset import CardDataset
from uan_da.data.download import DownloadFailed
from uan_da.data.fetch import RECORD, fetch
from uan_da.data.open_dataset import open_dataset
from uan_da.data.unpack import UnsafeArchive
from uan_da.errors import UserError


def archive(name: str, content: bytes) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as opened:
        info = tarfile.TarInfo(name)
        info.size = len(content)
        opened.addfile(info, io.BytesIO(content))
    return stream.getvalue()


ARCHIVE = archive("plates-1.0/scan/ant/1.jpg", b"picture")
LISTING = b"scan/ant/1.jpg 0\n"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def dataset(site, folder: Path, **of_archive: Any) -> CardDataset:
    site.files.setdefault("/plates.tgz", ARCHIVE)
    site.files["/list.txt"] = LISTING
    downloads = [
        {"url": f"{site.url}/plates.tgz", "to": "plates", "unpack": True, **of_archive},
        {"url": f"{site.url}/list.txt", "to": "lists/all.txt", "md5": hashlib.md5(LISTING).hexdigest()},
    ]
    adapter = {"name": "folder", "layout": "plates/{domain}/{class}", "split": "both"}
    card = {"adapter": adapter, "classes": ["ant"], "domains": {"scan": {}}, "downloads": downloads}
    return CardDataset("plates", Card.model_validate(card), folder / "plates")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uan_da.data.download.PAUSE", 0)


def test_files_come_verified_and_unpacked_to_their_places(site, tmp_path: Path) -> None:
    data = dataset(site, tmp_path, sha256=sha256(ARCHIVE))
    assert fetch(data) == [data.folder / "plates", data.folder / "lists/all.txt"]
    assert (data.folder / "plates/scan/ant/1.jpg").read_bytes() == b"picture"
    assert (data.folder / "lists/all.txt").read_bytes() == LISTING
    assert sorted(path.name for path in data.folder.iterdir()) == [RECORD, "lists", "plates"]
    count = len(site.requests)
    assert fetch(data) == []
    assert len(site.requests) == count


@pytest.mark.parametrize("given", [{"sha256": "0" * 64}, {"md5": "0" * 32}])
def test_another_digest_than_the_cards(site, tmp_path: Path, given: dict[str, str]) -> None:
    data = dataset(site, tmp_path, **given)
    with pytest.raises(UserError, match=r"of the card is 000.*is not used"):
        fetch(data)
    assert list(data.folder.iterdir()) == []


def test_an_unknown_digest_is_recorded_and_enforced(site, tmp_path: Path) -> None:
    data = dataset(site, tmp_path)
    fetch(data)
    record = json.loads((data.folder / RECORD).read_text())
    assert record[f"{site.url}/plates.tgz"] == sha256(ARCHIVE)
    (data.folder / "plates").rename(tmp_path / "elsewhere")
    site.files["/plates.tgz"] = archive("x/scan/ant/1.jpg", b"other")
    with pytest.raises(UserError, match="SHA-256 of the first download"):
        fetch(data)
    assert not (data.folder / "plates").exists()
    site.files["/plates.tgz"] = ARCHIVE
    assert fetch(data) == [data.folder / "plates"]


def test_an_unsafe_archive_leaves_nothing(site, tmp_path: Path) -> None:
    site.files["/plates.tgz"] = archive("../../evil", b"evil")
    data = dataset(site, tmp_path)
    with pytest.raises(UnsafeArchive):
        fetch(data)
    assert not (data.folder / "plates").exists()
    assert not (tmp_path / "evil").exists()


def test_a_failure_says_what_to_do_by_hand_and_that_works(site, tmp_path: Path) -> None:
    data = dataset(site, tmp_path, sha256=sha256(ARCHIVE))
    del site.files["/plates.tgz"]
    with pytest.raises(DownloadFailed) as error:
        fetch(data)
    by_hand = data.folder / "plates.tgz"
    assert f"from  {site.url}/plates.tgz\n  to    {by_hand}\n" in str(error.value)
    by_hand.parent.mkdir(exist_ok=True)
    by_hand.write_bytes(b"something else")
    with pytest.raises(UserError, match="SHA-256 of the card"):
        fetch(data)
    assert by_hand.exists()  # the user's file is not deleted
    by_hand.write_bytes(ARCHIVE)
    fetch(data)
    assert (data.folder / "plates/scan/ant/1.jpg").exists()


def test_no_automatic_download(tmp_path: Path) -> None:
    adapter = {"name": "folder", "layout": "plates/{domain}/{class}", "split": "both"}
    card = {"adapter": adapter, "classes": ["a"], "domains": {"b": {}}, "manual": "ask for it, and put it to {folder}"}
    data = CardDataset("mine", Card.model_validate(card), tmp_path / "mine")
    with pytest.raises(UserError, match=f"no automatic download\nask for it, and put it to {tmp_path}/mine"):
        fetch(data)


def test_a_folder_of_ones_own_has_nothing_to_fetch(plates: Path) -> None:
    with pytest.raises(UserError, match=f"has no download; it lies at {plates}"):
        fetch(open_dataset(str(plates)))
