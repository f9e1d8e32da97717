import pytest

from uan_da.sweeps.labels import short


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("{name: uan, num_clusters: 8, shrink: 0.5}", "uan K=8 shrink=0.5"),
        ("{name: uan}", "uan"),
        ("{name: mcd, then: [mcc, {name: bnm, weight: 1e-1}]}", "mcd then=[mcc,bnm weight=0.1]"),
        ("{source: 8, target: 16}", "source=8 target=16"),
        ("{name: x, a: true, b: null, c: {d: 1}}", "x a=true b=null c=(d=1)"),
        ("1e-3", "1e-3"),
        ("{no yaml", "{no yaml"),
        ("my.module:Norm", "my.module:Norm"),
    ],
)
def test_a_value_in_short(text: str, name: str) -> None:
    assert short(text) == name
