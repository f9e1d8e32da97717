"""Marks a run that this machine trained, so that the code that its recipe names may be run again without a question.

The mark is a keyed digest (HMAC) of ``recipe.yaml``; the key never leaves the user's own state folder. A run folder
that somebody else wrote, or a recipe that was changed since, has no valid mark.
"""

import hmac
import os
import secrets
from pathlib import Path

from pydantic import ValidationError

from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.recipe import Recipe


def names_code(recipe: Recipe) -> bool:
    """Whether a recipe, or its data set's card, cannot be read without trust."""
    try:
        open_dataset(Recipe.model_validate(recipe.to_dict()).dataset)
    except (UserError, ValidationError):
        return True
    return False


def sign(recipe: bytes) -> str | None:
    """The mark of a recipe's text; None where this machine keeps no key, as without a home."""
    key = _key(make=True)
    return None if key is None else hmac.digest(key, recipe, "sha256").hex()


def is_ours(recipe: bytes, mark: str) -> bool:
    """Whether this machine signed that text."""
    key = _key(make=False)
    return key is not None and hmac.compare_digest(hmac.digest(key, recipe, "sha256").hex(), mark)


def _key(make: bool) -> bytes | None:
    try:
        folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "uan-da"
        path = folder / "key"
        if make and not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(secrets.token_bytes(32))
        key = path.read_bytes()
    except (OSError, RuntimeError):  # no home, or one that cannot be written
        return None
    return key if len(key) == 32 else None
