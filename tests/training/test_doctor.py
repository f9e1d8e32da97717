"""What the doctor finds, where all is well and where it is not."""

import pytest
import torch

from uan_da.training import doctor
from uan_da.training.doctor import Finding, examine


@pytest.fixture(scope="module")
def found() -> dict[str, Finding]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(doctor, "_compiler", lambda _: Finding("compiler", "ok", ""))  # it takes many seconds
        return {finding.name: finding for finding in examine("cpu")}


def test_this_machine_is_well(found: dict[str, Finding]) -> None:
    assert [each for each in found.values() if each.state == "defect"] == []
    assert f"torch {torch.__version__.split('+')[0]}" in found["versions"].what
    assert found["bf16"] == Finding("bf16", "ok", "train.precision=bf16 runs on cpu")
    assert found["self-test"].state == "ok"


def test_a_missing_package_and_a_missing_kernel_have_a_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PACKAGES", ("no-such-package",))
    monkeypatch.setattr(doctor, "kernels_on", lambda _: None)
    device = torch.device("cpu")
    assert doctor._versions(device).remedy == "pip install no-such-package"
    assert doctor._kernels(device).state == "note"


def test_a_check_that_fails_does_not_hide_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: torch.device) -> Finding:
        raise RuntimeError("no such thing")

    quick = Finding("quick", "ok", "")
    for name in ("_versions", "_kernels", "_compiler", "_self_test"):
        monkeypatch.setattr(doctor, name, lambda _: quick)
    monkeypatch.setattr(doctor, "_memory", fails)
    states = {finding.name: finding.state for finding in examine("cpu")}
    assert (states["memory"], states["disk"]) == ("defect", "ok")


def test_a_folder_that_cannot_be_written_is_a_defect(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(doctor.tempfile, "NamedTemporaryFile", refuse)
    finding = doctor._disk(torch.device("cpu"))
    assert (finding.state, "Read-only file system" in finding.what) == ("defect", True)
    assert finding.remedy
