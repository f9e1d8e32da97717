"""Whatever a server sends in place of the file: nothing of it is believed, and the right file can come after it."""

import gzip
import io
import itertools
import json
import signal
import socket
import struct
import tarfile
import time
import zipfile
from collections import Counter
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


def tar_head(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


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
        Thread(target=self.http.serve_forever, args=[0.01], daemon=True).start()


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
HALF = len(RIGHT) // 2
HEAD = b"HTTP/1.1 200 OK\r\n"
TO_ITSELF, WITHOUT_END = "/scan.tgz", b"HTTP/1.1 302 Found\r\nLocation: /scan.tgz\r\n\r\n"


def raw(*parts: bytes, pause: float = 0.0, reset: bool = False) -> Answer:
    """Bytes as they are, each part after a pause; at the end the connection is closed, or reset."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        for part in parts:
            try:
                handler.wfile.write(part)
                handler.wfile.flush()
            except OSError:
                return
            time.sleep(pause)
        if reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    return answer


def with_member(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> bytes:
    """The right archive and a member that it should not have."""
    stream = io.BytesIO(gzip.decompress(RIGHT))
    with tarfile.open(fileobj=stream, mode="a") as opened:
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, link
        opened.addfile(info)
    return gzip.compress(stream.getvalue())


def of_images(content: Callable[[int], bytes], name: str = "scan/ant/{}.png") -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as opened:
        for number in range(5):
            info = tarfile.TarInfo(name.format(number))
            info.size = len(content(number))
            opened.addfile(info, io.BytesIO(content(number)))
    return stream.getvalue()


def zipped(**changed: Any) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as opened:
        for number in range(changed.get("count", 5)):
            opened.writestr(f"{changed.get('folder', 'scan/ant')}/{number}.png", picture(number))
    return stream.getvalue()


def flipped(content: bytes, place: int) -> bytes:
    return content[:place] + bytes([content[place] ^ 0x55]) + content[place + 1 :]


OF_THE_SERVER: dict[str, Answer] = {
    "a page": send(PAGE, Content_Type="text/html"),
    "the file, called a page": send(RIGHT, Content_Type="text/html; charset=utf-8"),
    **{f"{code}": send(PAGE, code) for code in (201, 204, 304, 400, 401, 403, 404, 407, 410, 416, 418, 429)},
    **{f"{code}": send(PAGE, code) for code in (500, 502, 503, 599, 999)},
    "moved to nowhere": send(PAGE, 302),
    "moved to itself": send(b"", 302, Location=TO_ITSELF),
    "moved to a file": send(b"", 302, Location="file:///etc/passwd"),
    "moved to FTP": send(b"", 301, Location="ftp://127.0.0.1/x"),
    "moved to no URL": send(b"", 307, Location="http://[::1/x"),
    "moved, without end": raw(WITHOUT_END, *[bytes(10_000)] * 20, pause=0.02),
    "an answer to a question that was not asked": send(
        RIGHT, 206, Content_Range=f"bytes 100-{len(RIGHT) + 99}/{len(RIGHT) + 100}"
    ),
    "206 without a range": send(RIGHT, 206),
    "no answer": raw(),
    "a reset": raw(reset=True),
    "a reset in the file": raw(HEAD + f"Content-Length: {len(RIGHT)}\r\n\r\n".encode() + RIGHT[:HALF], reset=True),
    "no status": raw(b"hello\r\n\r\n"),
    "a status that is no number": raw(b"HTTP/1.1 abc OK\r\n\r\n"),
    "a head without end": raw(HEAD + b"X: y\r\n"),
    "a long line": raw(HEAD + b"X: " + b"y" * 100_000 + b"\r\n\r\n"),
    "many lines": raw(HEAD + b"X: y\r\n" * 1000 + b"\r\n"),
    "chunks of no length": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n" + RIGHT),
    "chunks that end": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n100\r\n" + RIGHT[:256] + b"\r\n"),
    "silence": raw(b"", b"", pause=1.0),
    "silence in the head": raw(HEAD, b"", pause=1.0),
    "silence in the file": raw(HEAD + b"Content-Length: 900\r\n\r\n" + RIGHT[:100], b"", pause=1.0),
    "a head that trickles": raw(HEAD + b"X: ", *[b"y"] * 100, pause=0.02),
    "a file that trickles": raw(HEAD + b"Content-Length: 900\r\n\r\n", *[b"y"] * 100, pause=0.02),
    "a file of no length that trickles": raw(HEAD + b"\r\n", *[b"y"] * 100, pause=0.02),
    "a chunk's length that trickles": raw(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", *[b"0"] * 100, pause=0.02),
}
OF_THE_FILE: dict[str, Answer] = {
    "a page without its type": send(PAGE),
    "an error in JSON": send(b'{"error": "quota exceeded"}', Content_Type="application/json"),
    "a pointer to a large file": send(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"),
    "nothing": send(b""),
    "nothing, without a length": send(b"", length=None),
    "half of it": send(RIGHT[:HALF], length=len(RIGHT)),
    "half of it, without a length": send(RIGHT[:HALF], length=None),
    "half of it, by its length": send(RIGHT, length=HALF),
    "all but its end": send(RIGHT[:-4]),
    "a length that is none": send(RIGHT[:100], length="many"),
    "a flipped bit": send(flipped(RIGHT, HALF)),
    "a wrong sum": send(flipped(RIGHT, len(RIGHT) - 8)),
    "packed twice": send(gzip.compress(RIGHT), Content_Encoding="gzip"),
    "fewer images": send(archive(3)),
    "more images": send(archive(6)),
    "no images": send(archive(0)),
    "another archive": send(gzip.compress(b"x" * 5000)),
    "random bytes": send(np.random.default_rng(0).bytes(3000)),
    "zeros": send(bytes(3000)),
    "images of another class": send(of_images(picture, "scan/wasp/{}.png")),
    "images in a deeper folder": send(of_images(picture, "a/b/scan/ant/{}.png")),
    "one name for all": send(of_images(picture, "scan/ant/0.png")),
    "texts": send(of_images(lambda number: b"no image", "scan/ant/{}.txt")),
    "a path upwards": send(with_member("../../evil")),
    "a path from the root": send(with_member("/tmp/evil")),
    "a link": send(with_member("scan/ant/x.png", tarfile.SYMTYPE, "/etc/passwd")),
    "a hard link": send(with_member("scan/ant/x.png", tarfile.LNKTYPE, "../../evil")),
    "a FIFO": send(with_member("scan/ant/x.png", tarfile.FIFOTYPE)),
    "a device": send(with_member("scan/ant/x.png", tarfile.CHRTYPE)),
    "a bomb": send(gzip.compress(tar_head("scan/ant/0.png", 10**10) + bytes(10**6))),
    "a head of a gigabyte": send(gzip.compress(tar_head("x", 10**9, tarfile.GNUTYPE_LONGNAME))),
    "a zip of fewer": send(zipped(count=3)),
    "a zip that leads upwards": send(zipped(folder="../../evil")),
    "a zip that is cut off": send(zipped()[:-30]),
    "a zip with a flipped bit": send(flipped(zipped(), 60)),
}
WRONG = OF_THE_SERVER | OF_THE_FILE


class Hang(BaseException):
    """A download does not come to its end."""


def hang(*_: object) -> None:
    raise Hang


def test_no_wrong_first_answer_is_pinned_and_the_right_file_comes_after_it(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind without and with the file's size in the card. The time that a server may be silent is made short."""
    before, counts = signal.signal(signal.SIGALRM, hang), Counter[str]()
    for number, (kind, size) in enumerate(itertools.product(WRONG, ({}, {"size": len(RIGHT)}))):
        data = dataset(server, tmp_path / str(number), **size)
        server.answer = WRONG[kind]
        signal.alarm(10)
        try:
            with monkeypatch.context() as patch:
                patch.setattr("uan_da.data.connection.TIMEOUT", 0.2)
                patch.setattr("uan_da.data.connection.WINDOW", 0.2)
                fetch(data)
        except (UserError, Hang) as end:
            counts["refused" if isinstance(end, UserError) and str(end) else "hang"] += 1
        else:
            pytest.fail(f"{kind}: taken")
        finally:
            signal.alarm(0)
        assert not (data.folder / RECORD).exists(), kind
        assert not (data.folder / "scan").exists(), kind
        server.answer = send(RIGHT)
        assert fetch(data) == [data.folder / "scan"], kind
        assert len(data.load("scan", "train")) == 5, kind
        assert list(json.loads((data.folder / RECORD).read_text())) == [f"{server.url}/scan.tgz"], kind
    signal.signal(signal.SIGALRM, before)
    print(f"{len(WRONG)} kinds of wrong answers, without and with a size: {dict(counts)}")
    assert len(WRONG) >= 60
    assert set(counts) == {"refused"}


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
    monkeypatch.setattr("uan_da.data.connection.WINDOW", 0.05)

    def trickle(handler: BaseHTTPRequestHandler) -> None:
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
