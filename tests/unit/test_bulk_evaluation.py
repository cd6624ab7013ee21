"""How good runs are: values worked out by hand, what a run lacks, and the comparison of two."""

import json
import math

import pytest

from rerank_async.bulk import SourceError, evaluate
from rerank_async.errors import InvalidArgumentError

QRELS = {"q1": {"a": 1}, "q2": {"a": 2, "b": 1}, "q3": {"c": 1}}
GOOD = {"q1": {"a": 3.0, "b": 2.0}, "q2": {"a": 2.0, "b": 1.0}, "q3": {"c": 9.0, "a": 1.0}}
BAD = {"q1": {"a": 1.0, "b": 2.0}, "q2": {"a": 2.0, "b": 1.0}}


def test_values_by_hand():
    found = evaluate(QRELS, {"good": GOOD, "bad": BAD}, measures=["nDCG@10", "RR@10", "R@100", "AP"])
    assert found.queries == 3
    assert found.means["good"] == {"nDCG@10": 1.0, "RR@10": 1.0, "R@100": 1.0, "AP": 1.0}
    assert found.by_query["bad"]["RR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}
    assert found.means["bad"]["nDCG@10"] == pytest.approx((1 / math.log2(3) + 1) / 3)
    assert found.missing == {"good": 0, "bad": 1}


def test_the_comparison_lists_wins_and_losses_by_size():
    (found,) = evaluate(QRELS, {"bad": BAD, "good": GOOD}, measures=["RR@10"]).comparisons
    assert (found.baseline, found.run, found.measure) == ("bad", "good", "RR@10")
    assert found.difference == pytest.approx(0.5)
    assert [change.query for change in found.wins] == ["q3", "q1"]
    assert (found.losses, found.ties) == ((), 1)
    assert found.p == 0.5, "two signs can be set in four ways, two of them as extreme"
    (found,) = evaluate(QRELS, {"good": GOOD, "bad": BAD}, measures=["RR@10"]).comparisons
    assert [change.query for change in found.losses] == ["q3", "q1"]
    assert found.difference == pytest.approx(-0.5)


def test_two_names_of_one_measure_have_the_same_values_and_a_repeated_name_counts_once():
    found = evaluate(QRELS, {"bad": BAD, "good": GOOD}, measures=["AP", "RR@10", "MAP", "AP", "MRR@10"])
    assert found.measures == ("AP", "RR@10", "MAP", "MRR@10")
    means = {measure: pytest.approx(0.5) for measure in found.measures}
    assert found.means == {"bad": means, "good": dict.fromkeys(found.measures, 1.0)}
    assert [each.measure for each in found.comparisons] == list(found.measures)
    assert [each.difference for each in found.comparisons] == [pytest.approx(0.5)] * 4


def test_queries_that_nobody_judged_do_not_count():
    found = evaluate(QRELS, {"run": GOOD | {"q9": {"z": 1.0}}}, measures=["AP"])
    assert found.means["run"]["AP"] == 1.0
    assert set(found.by_query["run"]["AP"]) == set(QRELS)


def test_an_empty_run_has_zeros():
    assert evaluate(QRELS, {"run": {}}, measures=["RR@10"]).means["run"] == {"RR@10": 0.0}


def test_results_as_json_lines_are_measured_too(tmp_path):
    path = tmp_path / "ranked.jsonl"
    lines = [
        {"id": query, "results": [{"id": d, "score": s} for d, s in found.items()]} for query, found in BAD.items()
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    qrels = tmp_path / "qrels"
    qrels.write_text("".join(f"{query} 0 {d} {g}\n" for query, grades in QRELS.items() for d, g in grades.items()))
    found = evaluate(qrels, [path], measures=["RR@10"])
    assert found.by_query[str(path)]["RR@10"] == {"q1": 0.5, "q2": 1.0, "q3": 0.0}
    assert json.loads(json.dumps(found.to_dict()))["means"] == {str(path): {"RR@10": 0.5}}


def test_results_without_ids_cannot_be_judged(tmp_path):
    path = tmp_path / "ranked.jsonl"
    path.write_text('{"id": "q1", "results": [{"index": 0, "score": 1.0}]}\n')
    with pytest.raises(SourceError, match="line 1: no field 'id'; judgements need the ids"):
        evaluate(QRELS, [path])


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [({"runs": {}}, "runs"), ({"measures": ["nonsense@x"]}, "measures"), ({"permutations": 0}, "permutations")],
    ids=["runs", "measures", "permutations"],
)
def test_wrong_arguments_are_named(arguments, argument):
    with pytest.raises(InvalidArgumentError) as caught:
        evaluate(QRELS, **({"runs": {"run": GOOD}} | arguments))
    assert caught.value.argument == argument


def test_a_measure_that_nothing_installed_computes_is_a_wrong_argument():
    with pytest.raises(InvalidArgumentError, match=r"cannot compute all of AP, RBP\(p=0.8\) .*: Unsupported") as caught:
        evaluate(QRELS, {"run": GOOD}, measures=["AP", "RBP(p=0.8)"])
    assert caught.value.argument == "measures"


@pytest.mark.parametrize(
    ("measure", "words"),
    [
        ("nDCG@0", "cutoff of 'nDCG@0' is 0; it must be a whole number from 1"),
        ("P@1.5", "cutoff of 'P@1.5' is 1.5"),
        ("R@2147483648", "from 1 to 2147483647"),
        ("AP(rel=0)", r"rel of 'AP\(rel=0\)' is 0"),
        ("IPrec@2", "'IPrec@2' cannot be computed: invalid param recall"),
    ],
    ids=lambda value: value.split()[0],
)
def test_parameters_of_a_measure_that_no_program_can_compute_are_refused(measure, words):
    with pytest.raises(InvalidArgumentError, match=f"^measures: .*{words}") as caught:
        evaluate(QRELS, {"run": GOOD}, measures=["AP", measure])
    assert caught.value.argument == "measures"


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (
            ['{"id": 1, "results": []}', "", '{"id": "1", "results": []}'],
            "line 3: query 1 stands in an earlier line too",
        ),
        (
            ['{"id": "q", "results": [{"id": "a", "score": 2}, {"id": 7, "score": 1}, {"id": "7", "score": 0}]}'],
            "line 1: query q has the document 7 twice",
        ),
    ],
    ids=["query", "document"],
)
def test_json_lines_with_something_twice_are_refused_as_a_run_is(tmp_path, lines, words):
    path = tmp_path / "ranked.jsonl"
    path.write_text("\n".join(lines))
    with pytest.raises(SourceError, match=words):
        evaluate(QRELS, [path])


def test_without_judgements_there_is_nothing_to_say():
    with pytest.raises(SourceError, match="no query is judged"):
        evaluate({}, {"run": GOOD})
