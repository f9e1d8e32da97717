from importlib.metadata import PackageNotFoundError, version

import pytest

from uan_da.training.environment import environment


def test_a_package_that_is_not_installed_has_no_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """uan-da itself, run from a clone by PYTHONPATH."""

    def missing(name: str) -> str:
        if name == "uan-da":
            raise PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr("uan_da.training.environment.version", missing)
    packages = environment()["packages"]
    assert packages["uan-da"] is None
    assert packages["numpy"] == version("numpy")
