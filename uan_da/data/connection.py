"""An answer from the network that nothing keeps waiting: a server that says too little in a minute is cut off."""

import http.client
import io
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from socket import SHUT_RDWR, socket
from typing import IO, Any
from urllib.parse import urlsplit
from urllib.request import (
    HTTPDefaultErrorHandler,
    HTTPErrorProcessor,
    HTTPHandler,
    HTTPRedirectHandler,
    HTTPSHandler,
    OpenerDirector,
    ProxyHandler,
    Request,
    UnknownHandler,
)

TIMEOUT = 30.0
"""Seconds without a byte."""
WINDOW, LEAST = 60.0, 64 * 1024
"""A server that brings less than so many bytes of the file in so many seconds is given up, however it spends them."""


class TooSlow(Exception):
    """The connection was cut off."""


class Answer:
    """What a server answers, watched: the connection is cut off where it brings too little."""

    response: http.client.HTTPResponse

    def __init__(self) -> None:
        self.received = 0
        """Bytes of the file; the reader counts them."""
        self.slow = False
        self.socket: socket | None = None
        self.ended = threading.Event()

    def watch(self) -> None:
        """In a thread, until the end."""
        before = 0
        while not self.ended.wait(WINDOW):
            if self.received - before < LEAST and self.socket is not None:
                self.slow = True
                with suppress(OSError):
                    self.socket.shutdown(SHUT_RDWR)
            before = self.received

    def connection(self, kind: type[http.client.HTTPConnection]) -> Callable[..., http.client.HTTPConnection]:
        """Makes connections of that kind, whose socket can be cut off."""
        answer = self

        class Connection(kind):  # type: ignore[misc, valid-type]
            def connect(self) -> None:
                super().connect()
                answer.socket = self.sock

        return Connection


class _Http(HTTPHandler):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def http_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(self.answer.connection(http.client.HTTPConnection), req)


class _Https(HTTPSHandler):
    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self.answer = answer

    def https_open(self, req: Request) -> http.client.HTTPResponse:
        return self.do_open(self.answer.connection(http.client.HTTPSConnection), req)


class _Redirects(HTTPRedirectHandler):
    """Followed to http and https alone, and without reading what comes with them."""

    def http_error_302(self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any) -> Any:
        fp.close()
        return super().http_error_302(req, io.BytesIO(), code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302

    def redirect_request(
        self, req: Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> Request | None:
        if urlsplit(newurl).scheme not in {"http", "https"}:
            raise ValueError(f"it leads to {newurl}, which is neither http nor https")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


@contextmanager
def opened(url: str, headers: dict[str, str]) -> Iterator[Answer]:
    """The answer to a request.

    Raises:
        TooSlow: the server brought too little; also inside the block, and at its end.
        OSError, HTTPException, ValueError: there is no answer.
    """
    answer = Answer()
    threading.Thread(target=answer.watch, daemon=True).start()
    try:
        with _opener(answer).open(Request(url, headers=headers), timeout=TIMEOUT) as answer.response:
            yield answer
    except (OSError, http.client.HTTPException, ValueError):
        if not answer.slow:
            raise
    finally:
        answer.ended.set()
    if answer.slow:  # what was cut off may look as if it had come to its end
        raise TooSlow


def _opener(answer: Answer) -> OpenerDirector:
    """Of http and https alone: neither of files nor of FTP."""
    opener = OpenerDirector()
    answering = _Http(answer), _Https(answer), _Redirects(), HTTPDefaultErrorHandler(), HTTPErrorProcessor()
    for handler in (ProxyHandler(), UnknownHandler(), *answering):
        opener.add_handler(handler)
    return opener
