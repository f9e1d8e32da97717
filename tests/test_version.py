from importlib import metadata

import pytest

from uan_da.errors import UserError
from uan_da.version import version


def test_it_is_that_of_the_installed_package() -> None:
    assert version() == metadata.version("uan-da")


def test_a_folder_that_nobody_installed_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", missing)
    with pytest.raises(UserError, match="pip install -e"):
        version()
