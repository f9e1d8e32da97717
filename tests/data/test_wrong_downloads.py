"""Whatever a server sends in place of the file: nothing of it is believed, and the right file can come after it."""

import gzip
import io
import json
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from PIL import Image

from uan_da.data.card import Card, read_card
from uan_da.data.card_dataset import CardDataset
from uan_da.data.download import DownloadFailed, download
from uan_da.data.fetch import RECORD, fetch
from uan_da.errors import UserError


def picture(shade: int) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 0, 0)).save(stream, "png")
    return stream.getvalue()


def archive(count: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as opened:
        for number in range(count):
            info, content = tarfile.TarInfo(f"scan/ant/{number}.png"), picture(number)
            info.size = len(content)
            opened.addfile(info, io.BytesIO(content))
    return stream.getvalue()


RIGHT = archive(5)
Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Answers every request in the way that the test says."""

    def __init__(self) -> None:
        self.answer: Answer = send(RIGHT)
        self.requests = 0
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.requests += 1
                server.answer(self)
                self.close_connection = True

            def log_message(self, *args: object) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_address[1]}"
        Thread(target=self.http.serve_forever, daemon=True).start()


def send(body: bytes, code: int = 200, length: int | str | None = -1, **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        if length is not None:
            handler.send_header("Content-Length", str(len(body) if length == -1 else length))
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(body)

    return answer


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("uan_da.data.download.PAUSE", 0)
    server = Server()
    yield server
    server.http.shutdown()
    server.http.server_close()


def dataset(server: Server, tmp_path: Path, **more: Any) -> CardDataset:
    card = {
        "adapter": {"name": "folder", "split": "both"},
        "classes": ["ant"],
        "domains": {"scan": {"train": 5, "test": 5}},
        "downloads": [{"url": f"{server.url}/scan.tgz", "to": "scan", "unpack": True, **more}],
    }
    return CardDataset("plates", Card.model_validate(card), tmp_path / "plates")


PAGE = b"<html><body>Please sign in</body></html>"
WRONG: dict[str, Answer] = {
    "a page": send(PAGE, Content_Type="text/html"),
    "a page without its type": send(PAGE),
    "nothing": send(b""),
    "nothing, without a length": send(b"", length=None),
    "half of it, without a length": send(RIGHT[: len(RIGHT) // 2], length=None),
    "half of it": send(RIGHT[: len(RIGHT) // 2], length=len(RIGHT)),
    "an answer to a question that was not asked": send(
        RIGHT, 206, Content_Range=f"bytes 100-{len(RIGHT) + 99}/{len(RIGHT) + 100}"
    ),
    "206 without a range": send(RIGHT, 206),
    "a length that is none": send(RIGHT[:100], length="many"),
    "fewer images": send(archive(3)),
    "more images": send(archive(6)),
    "another archive": send(gzip.compress(b"x" * 5000)),
    "random bytes": send(np.random.default_rng(0).bytes(3000)),
    "an error": send(PAGE, 403),
    "a server's error": send(PAGE, 500),
}


@pytest.mark.parametrize("size", [{}, {"size": len(RIGHT)}], ids=["no size", "size"])
@pytest.mark.parametrize("kind", WRONG)
def test_a_wrong_first_answer_is_not_pinned_and_the_right_file_comes_after_it(
    server: Server, tmp_path: Path, kind: str, size: dict[str, int]
) -> None:
    data = dataset(server, tmp_path, **size)
    server.answer = WRONG[kind]
    with pytest.raises(UserError):
        fetch(data)
    assert not (data.folder / RECORD).exists()
    assert not (data.folder / "scan").exists()
    server.answer = send(RIGHT)
    assert fetch(data) == [data.folder / "scan"]
    assert len(data.load("scan", "train")) == 5
    assert list(json.loads((data.folder / RECORD).read_text())) == [f"{server.url}/scan.tgz"]


def test_the_message_says_what_the_card_says(server: Server, tmp_path: Path) -> None:
    server.answer = send(archive(3))
    with pytest.raises(UserError, match=r"domain 'scan': train: 3 images, the card says 5\n.*fetch it anew"):
        fetch(dataset(server, tmp_path))
    with pytest.raises(DownloadFailed, match=rf"a file of \d+ bytes, the card says {len(RIGHT)}"):
        fetch(dataset(server, tmp_path, size=len(RIGHT)))


def test_a_file_by_hand_has_the_cards_size_too(server: Server, tmp_path: Path) -> None:
    data = dataset(server, tmp_path, size=len(RIGHT))
    data.folder.mkdir()
    (data.folder / "scan.tgz").write_bytes(archive(3))
    with pytest.raises(UserError, match=rf"the card says {len(RIGHT)} bytes, but the file .* has"):
        fetch(data)


def test_more_bytes_than_the_card_says_are_not_written(server: Server, tmp_path: Path) -> None:
    server.answer = send(bytes(3_000_000), length=None)
    with pytest.raises(DownloadFailed, match="the card says 1000"):
        download(f"{server.url}/x", tmp_path / "x", size=1000)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_goes_on_with_another_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "x.part").write_bytes(RIGHT[:50])
    (tmp_path / "x.part.tag").write_text('"v1"')
    ranges = {"Content_Range": f"bytes 50-{len(RIGHT) - 1}/{len(RIGHT)}", "ETag": '"v2"'}

    def answer(handler: BaseHTTPRequestHandler) -> None:
        send(RIGHT[50:], 206, **ranges)(handler) if handler.headers.get("Range") else send(RIGHT)(handler)

    server.answer = answer
    download(f"{server.url}/x", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == RIGHT
    assert server.requests == 2


def test_a_trickling_server_is_given_up(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("uan_da.data.download.WINDOW", 0.05)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
        import time

        handler.send_response(200)
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        for _ in range(1000):
            try:
                handler.wfile.write(b"x")
            except OSError:
                return
            time.sleep(0.01)

    server.answer = trickle
    with pytest.raises(DownloadFailed, match=r"slower than .* bytes are kept"):
        download(f"{server.url}/x", tmp_path / "x")
    assert server.requests == 1
    assert (tmp_path / "x.part").stat().st_size > 0


def test_a_full_disk_is_called_so(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("uan_da.data.download._receive", full)
    with pytest.raises(UserError, match=r"x\.part: cannot be written \(No space left on device\)"):
        download(f"{server.url}/x", tmp_path / "x")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("to", "../../X"), ("to", "a/../../X"), ("to", "/etc/X"), ("to", ""), ("to", "."), ("to", "a\\..\\X"),
        ("to", "C:X"), ("url", "file:///etc/passwd"), ("url", "ftp://host/x"), ("url", "http://host/"), ("url", "http:///x"),
        ("url", "http://host/.."), ("url", "http://[::1/x"),
    ],
)  # fmt: skip
def test_a_card_that_leads_elsewhere_is_refused(tmp_path: Path, key: str, value: str) -> None:
    item = {"url": "http://host/x", "to": "x"} | {key: value}
    path = tmp_path / "evil.yaml"
    path.write_text(json.dumps({"adapter": "folder", "classes": ["a"], "domains": {"b": {}}, "downloads": [item]}))
    with pytest.raises(UserError, match=rf"downloads\.0\.{key}: expected|is no URL|downloads.*{key}"):
        read_card(path)


@pytest.mark.parametrize("folder", ["/tmp/elsewhere", "../elsewhere", "~/elsewhere"])
def test_a_card_with_downloads_does_not_choose_the_folder(server: Server, tmp_path: Path, folder: str) -> None:
    data = dataset(server, tmp_path)
    data = replace(data, card=data.card.model_copy(update={"folder": folder}))
    with pytest.raises(UserError, match=r"nothing is downloaded to it: .*--data-root"):
        fetch(data)
    assert server.requests == 0


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "\udce9"])
def test_a_damaged_record_is_one_message(server: Server, tmp_path: Path, content: str) -> None:
    data = dataset(server, tmp_path)
    data.folder.mkdir()
    (data.folder / RECORD).write_text(content, errors="surrogateescape")
    with pytest.raises(UserError, match=r"fetched\.json: .*delete it"):
        fetch(data)


def test_a_changed_file_is_refused_and_can_be_accepted(server: Server, tmp_path: Path) -> None:
    import shutil

    data = dataset(server, tmp_path)
    fetch(data)
    shutil.rmtree(data.folder / "scan")
    server.answer = send(gzip.compress(gzip.decompress(RIGHT), 1))
    with pytest.raises(UserError, match=r"to accept the new one, delete .*fetched\.json"):
        fetch(data)
    (data.folder / RECORD).unlink()
    assert fetch(data) == [data.folder / "scan"]
