"""One file from the network: resumed where it broke off, moved into place when it is whole."""

import http.client
import time
from collections.abc import Callable
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import Request, urlopen

from uan_da.errors import UserError

Progress = Callable[[int, int | None], None]
"""Called with the bytes that are here and, if the server says it, the bytes of the whole."""

TIMEOUT = 30.0
ATTEMPTS = 3
PAUSE = 1.0
CHUNK = 256 * 1024


class DownloadFailed(UserError):
    """The network or the server would not give the file."""


def download(url: str, path: Path, progress: Progress = lambda done, total: None) -> None:
    """Bring ``url`` to ``path``; a part of it that an earlier call left is gone on with.

    The part is ``path`` with ``.part`` added, and beside it the server's tag of the file: when the file has changed
    since, or the server does not tell, the download starts anew.

    Raises:
        DownloadFailed: three attempts in a row brought no further byte, or the server refuses.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(f"{url}: neither http nor https")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, part, progress)
        except HTTPError as error:
            raise DownloadFailed(f"{url}: the server answers {error.code} {error.reason}") from None
        except (URLError, OSError, http.client.HTTPException) as error:
            failures = 1 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                reason = getattr(error, "reason", error)
                raise DownloadFailed(f"{url}: broke off after {_size(part)} bytes ({reason})") from None
            time.sleep(PAUSE)
            continue
        break
    part.replace(path)
    _tag_file(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, progress: Progress) -> None:
    """Append to ``part`` what it lacks."""
    start, tag = _size(part), _read_tag(part)
    headers = {"User-Agent": "uan-da", "Accept-Encoding": "identity"}
    if start and tag:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    try:
        response = urlopen(Request(url, headers=headers), timeout=TIMEOUT)
    except HTTPError as error:
        if error.code != 416:
            raise
        part.unlink()  # longer than the file, or as long: no byte to go on with
        raise ConnectionError("the part on disk is not of this file") from None
    with response:
        resumed = response.status == 206
        done = start if resumed else 0
        length = response.headers.get("Content-Length")
        total = done + int(length) if length else None
        _tag_file(part).write_text(response.headers.get("ETag") or response.headers.get("Last-Modified") or "")
        with part.open("ab" if resumed else "wb") as file:
            while chunk := response.read(CHUNK):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"{total - done} bytes are missing")


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _read_tag(part: Path) -> str:
    tag = _tag_file(part)
    text = tag.read_text() if tag.is_file() else ""
    return "" if text.startswith("W/") else text  # a weak tag does not promise the same bytes


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
