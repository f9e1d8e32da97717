import json

import numpy as np
import pytest
from scipy import stats

from uan_da.errors import UserError
from uan_da.sweeps.statistics import holm
from uan_da.sweeps.table import AVERAGE, make_table, negative_transfer, to_dict

PLAIN, BETTER, WORSE = [0.50, 0.52, 0.57], [0.60, 0.65, 0.61], [0.49, 0.50, 0.53]


def by_name(table, selection="last"):
    return {row.name: row for row in table.rows[selection]}


def test_means_and_gains_are_over_seeds_and_paired(results):
    rows = by_name(make_table(results(), []))
    assert list(rows) == ["dann bn", "source_only bn", "mcd bn"]
    summary, gain = rows["dann bn"].target["a:b"], rows["dann bn"].gain["a:b"]
    assert (summary.mean, summary.std, summary.n) == (pytest.approx(0.62), pytest.approx(np.std(BETTER, ddof=1)), 3)
    known = stats.ttest_rel(BETTER, PLAIN)
    assert gain.mean == pytest.approx(np.mean(np.subtract(BETTER, PLAIN)))
    assert gain.interval == pytest.approx(tuple(known.confidence_interval(0.95)))
    assert rows["source_only bn"].gain == {}


def test_pairs_are_those_of_a_seed_in_whatever_order_the_runs_came(results):
    runs = results()
    of_dann = [run for run in runs if run.settings["method"] == "dann"]
    others = [run for run in runs if run.settings["method"] != "dann"]
    row = by_name(make_table([*others, *of_dann[::-1]], []))["dann bn"]
    known = pytest.approx(tuple(stats.ttest_rel(BETTER, PLAIN).confidence_interval(0.95)))
    assert row.gain["a:b"].interval == row.difference.interval == known


def test_a_seed_that_one_side_lacks_is_no_pair(results, done, unfinished):
    rows = by_name(make_table([*results(), done("dann", 7, 0.99), unfinished("source_only", 7)], []))
    assert rows["dann bn"].gain["a:b"].n == 3
    assert rows["dann bn"].target["a:b"].n == 4


def test_the_reference_is_chosen_and_the_tests_are_corrected_together(results):
    table = make_table(results(), [], "dann  bn")
    rows = by_name(table)
    assert rows["dann bn"].difference is None
    p = [stats.ttest_rel(values, BETTER).pvalue for values in (PLAIN, WORSE)]
    found = [rows["source_only bn"].difference, rows["mcd bn"].difference]
    assert [d.p for d in found] == pytest.approx(p)
    assert [d.corrected for d in found] == pytest.approx(holm(p))
    with pytest.raises(UserError, match=r"--reference: unknown row 'dan bn' \(did you mean 'dann bn'"):
        make_table(results(), [], "dan bn")


def test_gains_are_over_source_only_with_the_same_norm_and_the_same_options(done):
    runs = [
        *[done("source_only", 0, value, norm=norm, **{"method.x": "–", "lr": lr}) for norm, lr, value in GRID],
        *[done("dann", 0, 0.7, norm=norm, **{"method.x": x, "lr": lr}) for norm, lr, _ in GRID for x in (1, 2)],
    ]
    rows = by_name(make_table(runs, ["method.x", "lr"]))
    for norm, lr, value in GRID:
        for x in (1, 2):
            assert rows[f"dann {norm} method.x={x} lr={lr}"].gain["a:b"].mean == pytest.approx(0.7 - value)


GRID = [("bn", "1e-3", 0.1), ("bn", "1e-2", 0.2), ("uan", "1e-3", 0.3), ("uan", "1e-2", 0.4)]


def test_gains_do_not_ask_where_an_adaptation_started(done):
    starts = [done("dann", 0, accuracy, init=init) for init, accuracy in (("A", 0.7), ("B", 0.4))]
    rows = by_name(make_table([done("source_only", 0, 0.5, init="–"), *starts], ["init"]))
    gains = [rows[f"dann bn init={init}"].gain["a:b"].mean for init in ("A", "B")]
    assert gains == pytest.approx([0.2, -0.1])


def test_selections_are_kept_apart(results):
    table = make_table(results(), [])
    assert list(table.rows) == ["last", "selected"]
    last, selected = by_name(table), by_name(table, "selected")
    assert selected["dann bn"].target["a:b"].mean == pytest.approx(last["dann bn"].target["a:b"].mean - 0.05)
    assert table.validators == ["snd"]


def test_the_average_is_over_the_seeds_that_have_all_tasks(results):
    runs = [*results(), *results("c:d", 0.1)[:-1]]  # mcd lacks its last seed on the second task
    rows = by_name(make_table(runs, []))
    assert (rows["mcd bn"].target["a:b"].n, rows["mcd bn"].target["c:d"].n, rows["mcd bn"].target[AVERAGE].n) == (
        3,
        2,
        2,
    )
    average = rows["dann bn"].target[AVERAGE]
    assert (average.mean, average.std) == (pytest.approx(0.67), pytest.approx(np.std(BETTER, ddof=1)))


def test_a_variant_without_all_tasks_ranks_last_and_has_no_average(results, done):
    runs = [*results(), *[done("source_only", seed, 0.3, task="c:d") for seed in range(3)]]
    rows = make_table(runs, []).rows["last"]
    assert rows[0].name == "source_only bn"
    assert rows[1].target[AVERAGE] is None


def test_negative_transfer_is_found_by_task(results):
    runs = [*results(), *results("c:d")]
    found = [(s, name, task) for s, name, task, _ in negative_transfer(make_table(runs, []))]
    assert found == [(s, "mcd bn", task) for s in ("last", "selected") for task in ("a:b", "c:d", AVERAGE)]
    assert [task for *_, task, _ in negative_transfer(make_table(results(), []))] == ["a:b", "a:b"]


def test_what_failed_and_what_is_left_is_counted(results, unfinished):
    table = make_table([*results(), unfinished("jan", 0), unfinished("jan", 1, "OSError: disk")], [])
    assert (table.done, table.left, [r.error for r in table.failed]) == (9, 1, ["OSError: disk"])
    assert "jan bn" not in by_name(table)


def test_nothing_done_is_an_empty_table(unfinished):
    table = make_table([unfinished("source_only", 0)], [])
    assert (table.rows, table.done, table.left) == ({}, 0, 1)


def test_a_target_without_labels_has_no_number(done):
    table = make_table([done("source_only", 0, None), done("dann", 0, None)], [])
    assert {(row.target["a:b"], row.source["a:b"].mean) for row in table.rows["last"]} == {(None, 0.9)}
    assert {(row.difference, row.gain.get("a:b")) for row in table.rows["last"]} == {(None, None)}
    assert table.done == 2


def test_one_seed_has_no_deviation_and_no_test(done):
    row = by_name(make_table([done("source_only", 0, 0.5), done("dann", 0, 0.4)], []))["dann bn"]
    assert row.target["a:b"].std is None
    assert (row.gain["a:b"].mean, row.gain["a:b"].interval) == (pytest.approx(-0.1), None)


def test_a_table_is_json(results):
    content = json.loads(json.dumps(to_dict(make_table(results(), [])), allow_nan=False))
    assert content["rows"]["last"][0]["target"]["a:b"]["n"] == 3
