"""Where data sets lie on this machine."""

import os
from pathlib import Path

VARIABLE = "UAN_DA_DATA"


def data_root() -> Path:
    """The folder that holds a folder for each data set: ``UAN_DA_DATA``, or ``data`` in the user's cache of uan-da."""
    given = os.environ.get(VARIABLE)
    return Path(given).expanduser() if given else user_cache() / "data"


def user_cache() -> Path:
    """``$XDG_CACHE_HOME/uan-da``, or ``~/.cache/uan-da``."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "uan-da"
