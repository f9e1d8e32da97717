from pathlib import Path

import pytest

from uan_da.errors import UserError
from uan_da.recipe.source import dump_yaml, parse_value, read_yaml


def write(folder: Path, text: str) -> Path:
    path = folder / "r.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_values_follow_yaml_1_2(tmp_path: Path) -> None:
    text = "a: 1e-3\nb: no\nc: 012\nd: off\ne: .5\ng: 0o17\nh: null\ni: yes\nj: 12:30\n"
    data = read_yaml(write(tmp_path, text)).data
    assert data == {
        "a": 1e-3, "b": "no", "c": 12, "d": "off", "e": 0.5, "g": 15, "h": None, "i": "yes", "j": "12:30",
    }  # fmt: skip
    assert type(data["a"]) is float
    assert type(data["c"]) is int
    assert type(data["b"]) is str


def test_every_key_knows_its_line(tmp_path: Path) -> None:
    path = write(tmp_path, "# head\na: 1\nb:\n  c: 2\n  d: [1, {e: 3}]\n")
    source = read_yaml(path)
    assert source.location(("a",)) == f"{path}:2"
    assert source.location(("b", "c")) == f"{path}:4"
    assert source.location(("b", "d", 1, "e")) == f"{path}:5"
    assert source.location(("b", "missing")) == f"{path}:3"
    assert source.location(("missing",)) == str(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2\n", ":2: not valid YAML: found duplicate key"),
        ("a: [1\n", "not valid YAML"),
        ("- 1\n", "expected a mapping"),
        ("", "expected a mapping"),
        ("a: *nowhere\n", ":1: not valid YAML"),
    ],
)
def test_what_is_no_recipe_is_one_clear_error(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(UserError) as caught:
        read_yaml(path)
    assert str(caught.value).startswith(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_tag_runs_no_code(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    with pytest.raises(UserError, match="tag"):
        read_yaml(write(tmp_path, f"a: !!python/object/apply:os.mkdir ['{marker}']\n"))
    assert not marker.exists()


def test_missing_file_and_bad_bytes(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "none.yaml")
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="cannot be read"):
        read_yaml(tmp_path / "b.yaml")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 1e-3), ("no", "no"), ("[a, b]", ["a", "b"]), ("re:x=3", "re:x=3"), ("a: b: c", "a: b: c"),
        ("mnist:svhn", "mnist:svhn"), ("", ""), ("null", None), ("true", True), ("[", "["),
    ],
)  # fmt: skip
def test_parse_value(text: str, value: object) -> None:
    assert parse_value(text) == value


def test_dump_reads_back(tmp_path: Path) -> None:
    data = {"a": 1e-3, "b": "no", "c": "012", "d": [1, 2.5, "x"], "e": {"f": None, "g": True, "h": "1e-3"}}
    assert read_yaml(write(tmp_path, dump_yaml(data))).data == data


def test_what_was_read_is_the_callers_own_and_a_changed_file_is_read_anew(tmp_path: Path) -> None:
    path = write(tmp_path, "a: {b: 1}\n")
    first = read_yaml(path)
    first.data["a"]["b"] = 2
    first.locations.clear()
    again = read_yaml(path)
    assert again.data == {"a": {"b": 1}}
    assert again.location(("a", "b")) == f"{path}:1"
    assert read_yaml(write(tmp_path, "a: {b: 3}\n")).data == {"a": {"b": 3}}


NINE = ",".join(["*a{}"] * 9)
BOMBS = {
    "lists": "a0: &a0 [1]\n" + "".join(f"a{i}: &a{i} [{NINE.replace('{}', str(i - 1))}]\n" for i in range(1, 11)),
    "mappings": "a0: &a0 {}\n"
    + "".join(f"a{i}: &a{i} {{{', '.join(f'k{j}: *a{i - 1}' for j in range(9))}}}\n" for i in range(1, 11)),
    "aliases": "a: &a 1\nb: [" + "*a, " * 1000 + "1]\n",
    "brackets": "a: " + "[" * 5000,
    "braces": "a: " + "{a: " * 200 + "}" * 200,
    "indents": "".join(f"{' ' * i}k:\n" for i in range(400)),
    "size": "a: " + "x" * 1_000_001,
}


@pytest.mark.parametrize("name", BOMBS)
def test_what_grows_without_end_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"more than|nested too deeply|larger than"):
        read_yaml(write(tmp_path, BOMBS[name]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !!set {x}\n", "r.yaml:1: a: a YAML tag"),
        ("a: !!omap [x: 1]\n", "r.yaml:1: a: a YAML tag"),
        ("? [a, b]\n: 1\n", "a key is a text or a number"),
        ('a: "\\ud800"\n', "r.yaml:1: a: holds half of a character"),
        ("a: 2024-13-45\n", "not valid YAML: month"),
        ("a: " + "9" * 5000, "not valid YAML"),
    ],
)
def test_yaml_that_no_recipe_can_mean(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_yaml(write(tmp_path, text))


def test_keys_that_are_merged_in(tmp_path: Path) -> None:
    source = read_yaml(write(tmp_path, "a: &a {x: 1}\nb:\n  <<: *a\n  y: 2\n"))
    assert source.data["b"] == {"x": 1, "y": 2}
    assert source.location(("b", "x")).endswith(":2")
