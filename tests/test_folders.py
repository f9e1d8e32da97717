"""Folders of a user, and of one who has no home: a container may give any number for its user."""

import pwd
import warnings
from pathlib import Path
from typing import Any

import pytest

from uan_da.data.decode_cache import cache_folder
from uan_da.data.open_dataset import open_dataset
from uan_da.errors import UserError
from uan_da.folders import data_root, expanded, user_cache
from uan_da.training.signature import sign


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(number: int) -> Any:
        raise KeyError(f"getpwuid(): uid not found: {number}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_STATE_HOME", "UAN_DA_CACHE", "UAN_DA_DATA"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_home_nothing_is_kept_and_data_lie_in_the_working_directory(homeless: None) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert user_cache() is None
        assert cache_folder() is None
        assert data_root() == Path("data")
        assert sign(b"recipe") is None
        assert len(open_dataset("digits").load("optdigits", "test")) == 360


@pytest.mark.parametrize("place", ["~/plates", "~nobody-of-this-name/plates"])
def test_a_home_that_nobody_knows_is_no_such_folder(homeless: None, place: str) -> None:
    assert expanded(Path(place)) == Path(place)
    with pytest.raises(UserError, match=f"'{place}': no such folder"):
        open_dataset(place)


def test_variables_name_the_places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CACHE_HOME", "UAN_DA_CACHE", "UAN_DA_DATA"):
        monkeypatch.delenv(name, raising=False)
    assert user_cache() == tmp_path / ".cache" / "uan-da"
    assert data_root() == tmp_path / ".cache" / "uan-da" / "data"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("UAN_DA_DATA", "~/d")
    assert (cache_folder(), data_root()) == (tmp_path / "c" / "uan-da" / "decoded", tmp_path / "d")
