"""One file from the network: resumed where it broke off, moved into place when it is whole."""

import errno
import http.client
import re
import time
from pathlib import Path
from typing import IO, Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from uan_da.data.connection import LEAST, WINDOW, Answer, TooSlow, opened
from uan_da.data.progress import Progress, silent
from uan_da.errors import UserError

ATTEMPTS = 3
PAUSE = 1.0
CHUNK = 256 * 1024


class DownloadFailed(UserError):
    """The network or the server would not give the file."""


def download(url: str, path: Path, progress: Progress = silent, size: int | None = None) -> None:
    """Bring ``url`` to ``path``; a part of it that an earlier call left is gone on with.

    The part is ``path`` with ``.part`` added, and beside it the server's tag of the file: when the file has changed
    since, or the server does not tell, the download starts anew. ``size`` is what the file should have, in bytes.

    Raises:
        DownloadFailed: three attempts in a row brought no further byte, the server refuses or is too slow, or what it
            sends is empty, a web page in place of the file, or of another size.
        UserError: the disk is full or cannot be written.
    """
    if urlsplit(url).scheme not in {"http", "https"}:
        raise DownloadFailed(f"{url}: neither http nor https")
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    failures = 0
    while True:
        before = _size(part)
        try:
            _attempt(url, part, progress, size)
        except HTTPError as error:
            error.close()
            raise DownloadFailed(f"{url}: the server answers {error.code} {error.reason}") from None
        except TooSlow:
            raise DownloadFailed(
                f"{url}: slower than {LEAST} bytes in {WINDOW:.0f} s; {_size(part)} bytes are kept"
            ) from None
        except (URLError, OSError, http.client.HTTPException, ValueError) as error:
            if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT}:
                raise UserError(f"{part}: cannot be written ({error.strerror})") from None
            failures = 1 if _size(part) > before else failures + 1
            if failures >= ATTEMPTS:
                reason = getattr(error, "reason", error)
                raise DownloadFailed(f"{url}: broke off after {_size(part)} bytes ({reason})") from None
            time.sleep(PAUSE)
            continue
        break
    part.replace(path)
    _tag_file(part).unlink(missing_ok=True)


def _attempt(url: str, part: Path, progress: Progress, size: int | None) -> None:
    """Append to ``part`` what it lacks."""
    start, tag = _size(part), _read_tag(part)
    headers = {"User-Agent": "uan-da", "Accept-Encoding": "identity"}
    if start and tag:
        headers |= {"Range": f"bytes={start}-", "If-Range": tag}
    try:
        with opened(url, headers) as answer:
            done, total = _take(url, part, answer, (start, tag), progress, size)
    except HTTPError as error:
        if error.code != 416 or not start:
            raise
        part.unlink()  # longer than the file, or as long: no byte to go on with
        raise ConnectionError("the part on disk is not of this file") from None
    if total is not None and done < total:
        raise ConnectionError(f"{total - done} bytes are missing")
    if (size is not None and done != size) or not done:
        part.unlink()
        _tag_file(part).unlink()
        raise DownloadFailed(f"{url}: the server sent {done} bytes{'' if size is None else f', the card says {size}'}")


def _take(
    url: str, part: Path, answer: Answer, left: tuple[int, str], progress: Progress, size: int | None
) -> tuple[int, int | None]:
    """Write an answer to ``part``, of which so many bytes are ``left`` under a tag; how many are here, and the server's
    own count of all."""
    response, (start, tag) = answer.response, left
    resumed = response.status == 206
    if resumed and not _goes_on(response.headers, start, tag):
        part.unlink(missing_ok=True)
        raise ConnectionError("the server goes on with another file, or at another byte")
    if response.status not in (200, 206):
        raise DownloadFailed(f"{url}: the server answers {response.status} {response.reason}, without the file")
    done = start if resumed else 0
    total = _total(response.headers, done)
    _check_promise(url, part, response.headers, total, size)
    _tag_file(part).write_text(_tag(response.headers), encoding="ascii")
    with part.open("ab" if resumed else "wb") as file:
        return _receive(answer, file, done, total if size is None else size, progress), total


def _receive(answer: Answer, file: IO[bytes], done: int, total: int | None, progress: Progress) -> int:
    """Write what comes, no more than one byte above ``total``; returns the bytes that are here."""
    while chunk := answer.response.read1(CHUNK if total is None else min(CHUNK, total + 1 - done)):
        file.write(chunk)
        done += len(chunk)
        answer.received += len(chunk)
        progress(done, total)
    return done


def _goes_on(headers: Any, start: int, tag: str) -> bool:
    """Whether a partial answer is what was asked for: the rest of the same file, from its first missing byte."""
    found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("Content-Range", "").strip())
    same = _tag(headers) in {"", tag}
    return bool(start and tag) and same and found is not None and int(found[1]) == start


def _total(headers: Any, done: int) -> int | None:
    length = headers.get("Content-Length", "").strip()
    return done + int(length) if length.isdecimal() else None


def _check_promise(url: str, part: Path, headers: Any, total: int | None, size: int | None) -> None:
    """Refuse by its head what cannot be the file, before it is written."""
    if headers.get_content_type() == "text/html" and not urlsplit(url).path.endswith((".html", ".htm", "/")):
        raise DownloadFailed(f"{url}: the server answers with a web page in place of the file")
    if size is not None and total is not None and total != size:
        part.unlink(missing_ok=True)
        raise DownloadFailed(f"{url}: the server has a file of {total} bytes, the card says {size}")


def _tag(headers: Any) -> str:
    """What tells the file's versions apart, where it can be asked for again."""
    tag = str(headers.get("ETag") or headers.get("Last-Modified") or "")
    return tag if tag.isascii() and tag.isprintable() else ""


def _tag_file(part: Path) -> Path:
    return part.with_name(f"{part.name}.tag")


def _read_tag(part: Path) -> str:
    tag = _tag_file(part)
    text = tag.read_bytes().decode("ascii", "replace") if tag.is_file() else ""
    return "" if text.startswith("W/") or not (text.isascii() and text.isprintable()) else text


def _size(part: Path) -> int:
    return part.stat().st_size if part.is_file() else 0
