from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from uan_da.errors import UserError
from uan_da.models.state_file import read_state, without_prefix

STATE = {"conv.weight": torch.randn(2, 3, 1, 1), "fc.bias": torch.randn(4)}


def same(state: dict) -> bool:
    return state.keys() == STATE.keys() and all(torch.equal(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "saved",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "best": 0.5},
        {"model": STATE, "optimizer": {"state": {}, "param_groups": []}},
        {"model_state_dict": STATE},
        {"net": {"state_dict": STATE}},
        {**STATE, "arch": "resnet"},
    ],
)
def test_common_wrappings(tmp_path: Path, saved: dict) -> None:
    torch.save(saved, tmp_path / "w.pt")
    assert same(read_state(tmp_path / "w.pt"))


def test_safetensors(tmp_path: Path) -> None:
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(read_state(tmp_path / "w.safetensors"))


class Evil:
    def __reduce__(self):
        return exec, ("raise SystemExit('code of the file was executed')",)


@pytest.mark.parametrize(
    ("saved", "message"),
    [
        ([1, 2], "but got list"),
        (torch.randn(2), "but got Tensor"),
        ({}, "its keys are none"),
        ({"student": {"a": torch.ones(1)}, "epoch": 1}, "its keys are 'student', 'epoch'"),
        (Evil(), "cannot be read as a state dict"),
        (torch.nn.Linear(2, 2), "cannot be read as a state dict"),
    ],
    ids=["list", "tensor", "empty", "unknown wrapper", "code", "whole model"],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, saved: object, message: str) -> None:
    torch.save(saved, tmp_path / "w.pt")
    with pytest.raises(UserError) as caught:
        read_state(tmp_path / "w.pt")
    assert message in str(caught.value)
    assert str(tmp_path / "w.pt") in str(caught.value)


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"PK\x03\x04 cut off", b"\x80\x02"])
def test_broken_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as a state dict"):
        read_state(tmp_path / name)


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_state(tmp_path)


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.backbone.", "_orig_mod.module.encoder."])
def test_any_prefix_goes(prefix: str) -> None:
    names = ["conv1.weight", "layer1.0.conv1.weight", "layer1.0.conv2.weight"]
    state = {prefix + name: torch.tensor(float(index)) for index, name in enumerate(names)}
    outside = {"head.weight": torch.tensor(9.0)} if prefix else {}
    assert without_prefix({**outside, **state}, names) == {name: torch.tensor(float(i)) for i, name in enumerate(names)}


def test_two_networks_in_one_file_are_ambiguous() -> None:
    state = {f"{who}.{name}": torch.ones(1) for who in ("student", "teacher") for name in ("a", "b.c")}
    with pytest.raises(UserError, match=r"under 'student.' and 'teacher.'"):
        without_prefix(state, ["a", "b.c"])


def test_names_that_are_not_there_change_nothing() -> None:
    assert without_prefix(STATE, ["other"]) == STATE
