import pytest

from uan_da.recipe.published import Published
from uan_da.sweeps.formats import latex, markdown, tex
from uan_da.sweeps.sheets import interval, p_value, points, sheets, warnings
from uan_da.sweeps.statistics import Difference
from uan_da.sweeps.table import make_table


def figure(method: str, task: str, accuracy: float, **more: object) -> Published:
    values = {"source": "a paper", "protocol": "ResNet-50", "oracle": True} | more
    return Published.model_validate({"method": method, "task": task, "accuracy": accuracy, **values})


def test_each_selection_has_a_sheet_that_says_what_it_is(results):
    titles = [sheet.title for sheet in sheets(make_table(results(), []))]
    assert titles == [
        "target accuracy, % (last epoch)",
        "target accuracy, % (selected without target labels, by snd)",
        "target accuracy minus that of source_only bn, points",
    ]


def test_the_cells(results):
    sheet = sheets(make_table(results(), []))[0]
    assert sheet.head == ["", "method", "norm", "seeds", "a:b", "source", "gain over source_only", "95 % interval"]
    assert sheet.rows[0] == ["1", "dann", "bn", "3", "62.0 ± 2.6", "90.0 ± 0.0", "+9.0", "[-2.4, +20.4]"]
    assert sheet.rows[1][-2:] == ["–", "–"]
    assert sheet.rows[2][-2] == "-2.3 ▼"
    assert all(len(row) == len(sheet.head) for row in sheet.rows)


def test_several_tasks_have_columns_an_average_and_the_sources(results, done):
    runs = [*results(), *[done("dann", seed, 0.7, task="c:d") for seed in range(2)]]
    found = sheets(make_table(runs, []))
    assert found[0].head[4:7] == ["a:b", "c:d", "average"]
    assert found[0].rows[0][:4] == ["1", "dann", "bn", "2–3"]
    assert [sheet.title for sheet in found if "source accuracy" in sheet.title] == [
        "source accuracy, % (last epoch)",
        "source accuracy, % (selected without target labels, by snd)",
    ]


def test_what_hurt_and_what_failed_is_said(results, unfinished):
    lines = warnings(make_table([*results(), unfinished("jan", 0, "OSError: disk")], []))
    assert lines[0].startswith("negative transfer (last): mcd bn on a:b: -2.3 points [")
    assert lines[-1] == "failed: a:b jan bn 0: OSError: disk (runs/hash)"


@pytest.mark.parametrize(
    ("accuracies", "said"),
    [
        ([0.4], "-10.0 points, one seed"),
        ([0.4, 0.4], "-10.0 points, equal on all seeds"),
        ([0.4, 0.49], "-5.5 points [-62.7, +51.7], within the noise of the seeds"),
        ([0.4, 0.401], "-9.9 points [-10.6, -9.3]"),
    ],
)
def test_a_loss_says_how_sure_it_is(done, accuracies, said):
    runs = [
        done(method, i, v) for i, own in enumerate(accuracies) for method, v in (("source_only", 0.5), ("dann", own))
    ]
    assert warnings(make_table(runs, []))[0] == f"negative transfer (last): dann bn on a:b: {said}"


def test_a_target_without_labels_is_ranked_by_a_validator_and_has_no_accuracy(done):
    scores = {"source_only": (-0.5, -0.4), "mcd": (None, None), "dann": (-0.2, -0.3)}
    runs = [
        done(method, seed, None, scores={"snd": score, "confidence": 0.7 + 0.1 * seed, "largest_class": 0.25})
        for method, own in scores.items()
        for seed, score in enumerate(own)
    ]
    table = make_table(runs, [])
    assert table.ranked_by == "snd"
    (said,) = warnings(table)
    assert said.startswith(
        f"a:b: the target's test images have no labels, so its accuracy is unknown and {'snd'} ranks"
    )
    found = sheets(table)
    assert [sheet.title for sheet in found] == [
        "no target labels: ranked by snd (last epoch)",
        "no target labels: ranked by snd (selected without target labels, by snd)",
    ]
    assert found[0].head[4:] == ["snd", "confidence, %", "largest class, %", "source, %"]
    same = ["75.0 ± 7.1", "25.0 ± 0.0", "90.0 ± 0.0"]
    assert found[0].rows == [
        ["1", "dann", "bn", "2", "-0.250 ± 0.071", *same],
        ["2", "source_only", "bn", "2", "-0.450 ± 0.071", *same],
        ["3", "mcd", "bn", "2", "–", *same],
    ]


def test_one_label_is_enough_for_accuracies_to_rank(done):
    runs = [done("source_only", 0, 0.5, scores={"snd": 1.0}), done("dann", 0, 0.6, scores={"snd": 0.0})]
    table = make_table(runs, [])
    assert table.ranked_by is None
    assert [row.name for row in table.rows["last"]] == ["dann bn", "source_only bn"]


def test_figures_of_others_stand_apart_with_their_source(results, done):
    rows = [figure("DANN", "a:b", 91.4), figure("DANN", "c:d", 97.9), figure("JAN", "a:b", 93.7, oracle=False)]
    runs = [*results(), *[done("dann", seed, 0.7, task="c:d") for seed in range(2)]]
    sheet = sheets(make_table(runs, []), rows)[-1]
    assert sheet.head == ["method", "norm", "selection", "source", "protocol", "a:b", "c:d", "average"]
    assert sheet.rows == [
        ["DANN", "–", "oracle", "a paper", "ResNet-50", "91.4", "97.9", "94.7"],
        ["JAN", "–", "–", "a paper", "ResNet-50", "93.7", "–", "–"],
    ]


def test_markdown_is_a_table_and_keeps_its_columns(done):
    text = markdown(sheets(make_table([done("a|b", 0, 0.5), done("source_only", 0, 0.4)], [])), ["a note"])
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert "a\\|b" in lines[2]
    assert {line.replace("\\|", "").count("|") for line in lines[:4]} == {9}
    assert text.endswith("a note\n")


def test_latex_escapes_what_it_must(results):
    assert tex("a_b & 5 % ± {x}") == r"a\_b \& 5 \% $\pm$ \{x\}"
    text = latex(sheets(make_table(results(), [])), ["a note"])
    assert r"source\_only & bn & 3 & 53.0 $\pm$ 3.6" in text
    assert text.count(r"\begin{tabular}{lllrrrrr}") == 3
    assert text.count(r"\toprule") == text.count(r"\bottomrule") == 3
    assert "±" not in text
    assert "▼" not in text


def test_numbers_as_text():
    assert points(Difference(-0.0321, 3)) == "-3.2"
    assert interval(Difference(0.1, 3, (-0.01, 0.21))) == "[-1.0, +21.0]"
    assert [p_value(p) for p in (None, 0.0001, 0.0454, 1.0)] == ["–", "<0.001", "0.045", "1.000"]
