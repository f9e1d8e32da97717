"""Image folders that the data tests share; nothing is read from or written to the user's own folders."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def own_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path_factory.mktemp("user")
    monkeypatch.setenv("UAN_DA_CACHE", str(folder / "decoded"))
    monkeypatch.setenv("UAN_DA_DATA", str(folder / "data"))


def write_images(folder: Path, names: Sequence[str], seed: int, side: int = 12) -> None:
    random = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(random.integers(0, 256, (side, side, 3), dtype=np.uint8)).save(folder / name)


@pytest.fixture
def plates(tmp_path: Path) -> Path:
    """Two domains, two classes, 20 images of each."""
    return make_plates(tmp_path / "plates", {"scan": ("ant", "bee"), "photo": ("ant", "bee")})


@pytest.fixture
def make() -> Callable[..., Path]:
    return make_plates


def make_plates(folder: Path, domains: Mapping[str, Sequence[str]], count: int = 20) -> Path:
    for number, (domain, classes) in enumerate(domains.items()):
        for label, name in enumerate(classes):
            write_images(folder / domain / name, [f"{i:03d}.jpg" for i in range(count)], 100 * number + label)
    return folder


class Site:
    """A server on this machine whose files, tags and misbehaviour a test decides."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.tag: str | None = '"v1"'
        self.break_after: int | None = None
        self.breaks = 0
        self.ignore_range = False
        self.requests: list[str | None] = []
        site = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                site.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        Thread(target=self.server.serve_forever, args=[0.01], daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        wanted = handler.headers.get("Range")
        self.requests.append(wanted)
        content = self.files.get(handler.path)
        if content is None:
            handler.send_error(404)
            return
        start = 0
        if wanted and not self.ignore_range and handler.headers.get("If-Range") == self.tag:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start and start >= len(content):
            handler.send_error(416)
            return
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        if start:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        if self.tag:
            handler.send_header("ETag", self.tag)
        handler.end_headers()
        body = content[start:]
        if self.breaks:
            self.breaks -= 1
            body = body[: self.break_after]
        handler.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    yield site
    site.server.shutdown()
    site.server.server_close()
