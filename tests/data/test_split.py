from uan_da.data.split import in_split


def test_a_fifth_is_test_and_nothing_is_both() -> None:
    names = [f"class/{i:05d}.jpg" for i in range(20_000)]
    test = [name for name in names if in_split(name, "test", "hash")]
    assert abs(len(test) / len(names) - 0.2) < 4 * (0.16 / len(names)) ** 0.5
    assert all(in_split(name, "train", "hash") != in_split(name, "test", "hash") for name in names)


def test_the_hash_is_the_same_on_every_machine() -> None:
    """Computed once and written down: another hash would move users' test images into their training."""
    assert "".join(letter for letter in "abcdefghij" if in_split(letter, "test", "hash")) == "ef"


def test_both() -> None:
    assert in_split("a", "train", "both")
    assert in_split("a", "test", "both")
