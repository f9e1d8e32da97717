"""The user's files: found below a data set's folder, and read as text."""

from pathlib import Path

from uan_da.data.adapter import MissingData
from uan_da.errors import UserError


def find_file(folder: Path, *names: str) -> Path:
    """The file with one of the ``names`` in ``folder``, or else the only one below it.

    Raises:
        MissingData: there is none, or there are several (names them).
    """
    for name in names:
        if (folder / name).is_file():
            return folder / name
    found = [path for name in names for path in sorted(folder.rglob(name))] if folder.is_dir() else []
    if len(found) == 1:
        return found[0]
    if found:
        raise MissingData(f"{folder}: more than one {names[0]}: {', '.join(map(str, found))}")
    raise MissingData(f"{folder / names[0]}: no such file")


def read_text(path: Path) -> str:
    """The text of a file in UTF-8, with or without a byte order mark.

    Raises:
        MissingData: there is no such file.
        UserError: it cannot be read, or is in another encoding; names the line.
    """
    if not path.is_file():
        raise MissingData(f"{path}: no such file")
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{path}:{line}: not UTF-8 (byte 0x{content[error.start]:02x}): save it as UTF-8") from None
    if "\0" in text:
        raise UserError(f"{path}: not a text file (it holds zero bytes)")
    return text
