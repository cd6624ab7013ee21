"""What a job reads: lines, queries as JSON Lines, runs, judgements; each mistake with its file, line and words."""

import gzip
import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support import codecs

from rerank_async.bulk.errors import SourceError
from rerank_async.bulk.items import BadItem, Item, read_jsonl
from rerank_async.bulk.lines import loads, numbered_lines
from rerank_async.bulk.lookup import open_texts
from rerank_async.bulk.runs import _columns, read_groups, read_groups_once, read_qrels, read_run_items, read_scores


def file(folder, content, name="file"):
    path = folder / name
    path.write_bytes(content)
    return str(path)


# Lines


def test_blank_lines_are_counted_and_left_out_and_a_byte_order_mark_too(tmp_path):
    path = file(tmp_path, b"\xef\xbb\xbfa\r\n\n  \nb\n\nc")
    assert list(numbered_lines(path)) == [(1, b"a"), (4, b"b"), (6, b"c")]


def test_a_compressed_file_is_read_by_its_name(tmp_path):
    assert list(numbered_lines(file(tmp_path, gzip.compress(b"a\nb\n"), "x.gz"))) == [(1, b"a"), (2, b"b")]


@pytest.mark.parametrize(
    "content",
    [gzip.compress(b"abc\n" * 10_000)[:-20], b"plain", gzip.compress(b"abc\n" * 1000)[:30] + b"x" * 30],
    ids=["cut", "not compressed", "spoilt"],
)
def test_a_damaged_file_is_an_error_that_names_it(tmp_path, content):
    path = file(tmp_path, content, "x.gz")
    with pytest.raises(SourceError, match=r"x.gz: cannot be read behind line"):
        list(numbered_lines(path))


def test_a_file_without_line_breaks_does_not_fill_the_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("rerank_async.bulk.lines.MOST_BYTES", 100)
    with pytest.raises(SourceError, match="line 2: over 0 MiB"):
        list(numbered_lines(file(tmp_path, b"a\n" + b"b" * 200)))


# Queries


def read(folder, *values, depth=None):
    content = b"".join(value if isinstance(value, bytes) else json.dumps(value).encode() + b"\n" for value in values)
    return list(read_jsonl(file(folder, content), depth))


def test_queries_with_plain_texts_objects_and_both(tmp_path):
    first, second, third = read(
        tmp_path,
        {"id": "a", "query": "q", "inputs": ["x", "y"]},
        {"id": 7, "query": "q", "inputs": [{"id": "d1", "text": "x"}, {"id": 2, "text": "y", "more": []}]},
        {"query": "q", "inputs": ["x", {"text": "y"}, {"id": "d", "text": "z"}]},
    )
    assert first == Item(0, 1, "a", "q", ["x", "y"], None)
    assert second == Item(1, 2, 7, "q", ["x", "y"], ["d1", 2])
    assert third == Item(2, 3, 3, "q", ["x", "y", "z"], [None, None, "d"])


def test_depth_cuts_before_what_lies_behind_is_looked_at(tmp_path):
    (found,) = read(tmp_path, {"id": 1, "query": "q", "inputs": ["x", "y", 5]}, depth=2)
    assert found.inputs == ["x", "y"]


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"query": "q"}, "no field 'inputs'; its fields: 'query'"),
        ({"inputs": []}, "no field 'query'; its fields: 'inputs'"),
        ({}, "no field 'query'; its fields: none"),
        ({"query": 1, "inputs": []}, "query is a JSON number, not a string"),
        ({"query": "q", "inputs": "abc"}, "inputs is a JSON string, not an array"),
        ({"query": "q", "inputs": ["a", 1]}, r"inputs\[1\] is a JSON number"),
        ({"query": "q", "inputs": ["a", {"t": 1}]}, r"no field 'text'; its fields: 't'"),
        ({"query": "q", "inputs": [{"text": None}]}, r"inputs\[0\].text is a JSON null"),
        ({"query": "q", "inputs": [{"text": "a", "id": 1.5}]}, r"inputs\[0\].id is a JSON number, not a string or"),
        ({"id": None, "query": "q", "inputs": []}, "id is a JSON null"),
        ({"id": True, "query": "q", "inputs": []}, "id is a JSON boolean"),
        ([], "a JSON array where an object with 'query' and 'inputs' is needed"),
        (b'{"query": "q",\n', "not JSON at character"),
        (b'{"query": "\xff"}\n', "byte 12 is not UTF-8"),
        (b"[" * 100_000 + b"\n", "not JSON"),
    ],
    ids=lambda value: None,
)
def test_a_bad_line_is_an_item_that_says_what_and_where(tmp_path, value, words):
    good, bad, after = read(tmp_path, {"query": "q", "inputs": []}, value, {"query": "q", "inputs": []})
    assert (type(good), type(after)) == (Item, Item)
    assert type(bad) is BadItem
    assert bad.line == bad.error.line == 2
    with pytest.raises(SourceError, match=f"line 2: .*{words}"):
        raise bad.error


@pytest.mark.parametrize("name", codecs.NAMES)
@pytest.mark.parametrize(
    "line",
    [
        rb'{"id": "\ud800", "query": "q", "inputs": []}',
        rb'{"id": 1, "query": "\uDFFF", "inputs": []}',
        rb'{"id": 1, "query": "q", "inputs": ["a\uD83Db"]}',
        rb'{"id": 1, "query": "q", "inputs": [{"id": "\udc00\ud800", "text": "a"}]}',
        rb'{"id": 1, "query": "q", "inputs": [], "more": {"\ud800": 1}}',
        rb'{"id": 1, "query": "q", "inputs": [], "more": NaN}',
        rb'{"id": 1, "query": "q", "inputs": [], "more": -Infinity}',
        rb'{"id": 1, "query": "q", "inputs": [], "more": 1e999}',
        rb'{"id": 1, "query": "q", "inputs": [], "more": -' + b"9" * 400 + b"}",
    ],
    ids=["id", "query", "text", "name", "ignored", "nan", "infinity", "too large", "too long"],
)
def test_what_only_the_standard_library_reads_is_a_bad_line_under_either_codec(tmp_path, name, line):
    whole = rb'{"id": "\ud83d\ude00", "query": "\\ud800", "inputs": ["NaN Infinity"]}'
    with codecs.use_codec(name):
        first, bad, last = read(tmp_path, whole + b"\n", line + b"\n", whole + b"\n")
    assert type(bad) is BadItem
    assert bad.id is None
    assert str(bad.error).endswith("line 2: " + REFUSED)
    assert (first.id, last.query) == ("\N{GRINNING FACE}", r"\ud800")


@pytest.mark.parametrize("codec", codecs.NAMES)
def test_numbers_are_the_same_under_either_codec(codec):
    whole = [0, -1, 10**17, 2**63, 2**64 - 1, -(2**63)]
    broken = [1.5, -0.0, 1e308, 1e-999, float(10**25), float(2**64), float(-(2**63) - 1)]
    line = b"[%b,1.5,-0.0,1e308,1e-999,%d,%d,%d]" % (
        ",".join(map(str, whole)).encode(),
        10**25,
        2**64,
        -(2**63) - 1,
    )
    with codecs.use_codec(codec):
        found = loads(line)
    assert [repr(each) for each in found] == [repr(each) for each in whole + broken]


@pytest.mark.parametrize("codec", codecs.NAMES)
@pytest.mark.parametrize("name", [10**25, -(2**63) - 1])
def test_an_id_over_64_bits_is_a_bad_line_under_either_codec(tmp_path, codec, name):
    with codecs.use_codec(codec):
        (bad,) = read(tmp_path, {"id": name, "query": "q", "inputs": []})
    assert str(bad.error).endswith("line 1: id is a JSON number, not a string or a whole number of 64 bits")


REFUSED = "JSON that the quick parser refuses, such as half of a surrogate pair or a number that is none or too large"


# Runs


def rows(*queries):
    """A run of (query, [(document, score)])."""
    return "".join(
        f"{query} Q0 {document} {rank} {score} tag\n"
        for query, documents in queries
        for rank, (document, score) in enumerate(documents, start=1)
    ).encode()


ids = st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1, max_size=5)
runs = st.dictionaries(
    ids, st.dictionaries(ids, st.floats(allow_nan=False, width=32), min_size=1, max_size=6), min_size=1, max_size=5
)


@given(run=runs, block=st.integers(1, 60))
def test_a_run_is_read_as_it_was_written_wherever_blocks_end(tmp_path_factory, run, block):
    path = file(tmp_path_factory.mktemp("run"), rows(*((query, found.items()) for query, found in run.items())))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rerank_async.bulk.runs._BLOCK", block)
        groups = list(read_groups(path))
        scores = read_scores(path, numbered_lines(path))
    assert [group.query.decode() for group in groups] == list(run)
    assert b"".join(group.content for group in groups) == Path(path).read_bytes()
    assert scores == run
    starts = [1]
    for found in run.values():
        starts.append(starts[-1] + len(found))
    assert [group.line for group in groups] == starts[:-1]


class AnyText(dict):
    path = "corpus"

    def fetch(self, wanted):
        return [f"text of {each}" for each in wanted]


def items(folder, content, depth=None, skip=lambda at, query: False):
    return list(read_run_items(file(folder, content, "r.run"), AnyText(), AnyText(), depth, skip))


def test_candidates_are_ordered_by_score_then_by_rank_then_as_they_stand(tmp_path):
    content = b"q Q0 a 9 1.0 t\nq Q0 b 3 2.0 t\nq Q0 c 2 2.0 t\nq Q0 d 2 2.0 t\nq Q0 e 1 3e0 t\n"
    (found,) = items(tmp_path, content)
    assert found.names == ["e", "c", "d", "b", "a"]
    assert found.inputs[0] == "text of e"
    assert (found.id, found.query) == ("q", "text of q")
    (found,) = items(tmp_path, content, depth=2)
    assert found.names == ["e", "c"]


def test_blank_lines_and_other_white_space_are_no_matter(tmp_path):
    content = b"\n q\tQ0\ta 1  2.0 t\r\n\nq Q0 b 2 1.0 t\n   \nq2 Q0 a 1 1 t"
    first, second = items(tmp_path, content)
    assert (first.line, first.names) == (2, ["a", "b"])
    assert (second.line, second.names) == (6, ["a"])


@pytest.mark.parametrize("blank", ["\u00a0", "\u2028", "\x1c", "\x85"])
@pytest.mark.parametrize("count", [1, 3])
def test_white_space_outside_of_ascii_parts_no_columns(tmp_path, blank, count):
    query, tag, names = f"q{blank}1", f"t{blank}", [f"d{blank}{number}" for number in range(count)]
    rows = [f"{query} Q0 {name} {rank} {9 - rank}.5 {tag}\n" for rank, name in enumerate(names, start=1)]
    content = "".join(rows).encode()
    (found,) = items(tmp_path, content)
    assert (found.id, found.names) == (query, names)
    assert scores_of(tmp_path, content) == {query: {name: 8.5 - place for place, name in enumerate(names)}}
    (tmp_path / "qrels").write_bytes(f"{query} 0 {names[0]} 1\n".encode())
    assert read_qrels(str(tmp_path / "qrels")) == {query: {names[0]: 1}}


def test_what_is_done_is_passed_over(tmp_path):
    content = rows(("q1", [("a", 1)]), ("q2", [("a", 1)]), ("q3", [("a", 1)]))
    assert [(item.at, item.id) for item in items(tmp_path, content, skip=lambda at, query: query == b"q2")] == [
        (0, "q1"),
        (2, "q3"),
    ]


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (b"q Q0 b 2 0.5", "line 2: 5 fields where 'qid Q0 docid rank score tag' has 6"),
        (b"q Q0 b 2 0.5 t x", "line 2: 7 fields"),
        (b"q", "line 2: 1 fields"),
        (b"q Q0 b 2 high t", "line 2: the score is no number"),
        (b"q Q0 b 2 nan t", "line 2: the score is NaN"),
        (b"q Q0 \xff 2 0.5 t", "line 2: byte 6 is not UTF-8"),
        (b"\nq Q0 a 2 0.5 t", "line 3: query q has the document a twice"),
        (b"q Q0 b x 1.0 t", "line 2: query q has scores that tie, and the rank 'x' is no number"),
        (b"q Q0 b 2_0 1.0 t", "line 2: query q has scores that tie, and the rank '2_0' is no number"),
        ("q Q0 b\u00a02 0.5 t".encode(), "line 2: 5 fields"),
        (b"q Q0 7 0.5 t\nq Q0 8 3 0.4 t t", "line 2: 5 fields"),
    ],
    ids=[
        "five",
        "seven",
        "one",
        "no number",
        "nan",
        "latin",
        "twice",
        "tie",
        "liberty",
        "blank",
        "two that make up for each other",
    ],
)
def test_a_bad_row_fails_its_query_and_no_other(tmp_path, row, words):
    content = b"q Q0 a 1 1.0 t\n" + row + b"\nr Q0 a 1 1.0 t\n"
    bad, good = items(tmp_path, content)
    assert (type(bad), bad.id) == (BadItem, "q")
    assert words in str(bad.error)
    assert (good.id, good.names) == ("r", ["a"])


# Judgements


@pytest.mark.parametrize(
    "content",
    [
        b"query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n",
        b"\n \nquery-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n",
        b"q1 0 d1 2\nq1 0 d2 0\n",
        b"q1\td1\t2\nq1\td2\t0\n",
    ],
    ids=["BEIR", "BEIR behind a blank line", "TREC", "BEIR without headings"],
)
def test_judgements_of_either_form(tmp_path, content):
    assert read_qrels(file(tmp_path, content)) == {"q1": {"d1": 2, "d2": 0}}


@pytest.mark.parametrize("line", [b"q1 d1", b"q1 0 d1 high", b"q1 0 d1 1_0", b"q1 0 d1 1 more"])
def test_bad_judgements_name_their_line(tmp_path, line):
    with pytest.raises(SourceError, match="line 2: neither"):
        read_qrels(file(tmp_path, b"q1 0 d1 1\n" + line))


def scores_of(folder, content):
    """The scores of a run, as a whole and query by query."""
    path = file(folder, content)
    return read_scores(path, numbered_lines(path))


def columns_of(folder, content):
    """The same, as a job reads them."""
    path = file(folder, content)
    found = ((rows.query.decode(), _columns(path, rows)) for rows in read_groups(path))
    return {query: dict(zip(documents, scores, strict=True)) for query, (documents, _, scores) in found}


def test_scores_of_a_run_with_a_document_twice_are_refused(tmp_path):
    with pytest.raises(SourceError, match="line 3: query q has the document a twice"):
        scores_of(tmp_path, b"q Q0 a 1 2 t\np Q0 a 1 1 t\nq Q0 a 2 1 t\n")


@pytest.mark.parametrize("read_scores", [scores_of, columns_of])
@pytest.mark.parametrize("name", codecs.NAMES)
def test_a_score_is_what_python_reads_as_a_number_without_its_liberties(tmp_path, name, read_scores):
    good = ["3", "-0.0", "+1.5", ".5", "5.", "1e3", "1E-3", "01", "9007199254740993", "1e400", "-inf", "1" * 400]
    with codecs.use_codec(name):
        for score in good:
            found = read_scores(tmp_path, f"q Q0 a 1 2 t\nq Q0 b 2 {score} t\n".encode())
            assert [repr(each) for each in found["q"].values()] == ["2.0", repr(float(score))]
        for score in ('"5"', "true", "null", "1,2", "[1]", "{}", "0x1", "1]", "--1", "1_0", "\uff11"):
            with pytest.raises(SourceError, match="line 2: the score is no number"):
                read_scores(tmp_path, f"q Q0 a 1 2 t\nq Q0 b 2 {score} t\n".encode())
        with pytest.raises(SourceError, match="line 1: the score is no number"):
            read_scores(tmp_path, b"q Q0 a 1 [1 t\nq Q0 b 2 2] t\n")
        assert math.isinf(read_scores(tmp_path, b"q Q0 a 1 inf t\n")["q"]["a"])


def test_a_document_that_the_corpus_lacks_is_named_with_its_own_row(tmp_path):
    corpus = open_texts(file(tmp_path, b"a\tx\nb\ty\n", "c.tsv"))
    content = b"\np Q0 a 1 1 t\nq Q0 a 1 3 t\n\nq Q0 b 2 1 t\nq Q0 zz 3 2 t\n"
    good, bad = read_run_items(file(tmp_path, content), AnyText(), corpus, None, lambda *_: False)
    assert (good.id, bad.id, bad.line) == ("p", "q", 3)
    assert "file, line 6: query q names document zz, which " in str(bad.error)


def test_a_run_whose_rows_are_apart_is_told_how_to_bring_them_together(tmp_path):
    content = b"q Q0 a 1 1 t\np Q0 a 1 1 t\nq Q0 b 2 1 t\n"
    plain, packed = file(tmp_path, content, "r.run"), file(tmp_path, gzip.compress(content), "r.run.gz")
    with pytest.raises(SourceError) as caught:
        list(read_groups_once(plain))
    assert str(caught.value).endswith(
        f"line 3: query q stands in two places; bring its rows together, for example by: sort -s -k1,1 {plain}"
    )
    with pytest.raises(SourceError) as caught:
        list(read_groups_once(packed))
    assert str(caught.value).endswith(f"for example by: zcat {packed} | sort -s -k1,1 | gzip")


def test_a_run_looks_its_texts_up(tmp_path):
    corpus = open_texts(file(tmp_path, b"a\ttext of a\n", "c.tsv"))
    queries = open_texts(file(tmp_path, b'{"_id": "q", "text": "why"}\n', "q.jsonl"))
    (found,) = read_run_items(file(tmp_path, rows(("q", [("a", 1)]))), queries, corpus, None, lambda at, query: False)
    assert (found.query, found.inputs) == ("why", ["text of a"])
