"""Files of a data set, wherever below its folder other programs have put them."""

from pathlib import Path

from uan_da.data.adapter import MissingData


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
