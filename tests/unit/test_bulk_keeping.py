"""What a job leaves: journal, output, identity; bytes and places, without a loop or a socket."""

import fcntl
import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.bulk_jobs import LONGEST_NAME

from rerank_async.bulk.errors import JobError, OutputError, SourceError
from rerank_async.bulk.files import JobFiles, replace_file
from rerank_async.bulk.identity import check_same, read_identity, write_identity
from rerank_async.bulk.ids import IdSet
from rerank_async.bulk.items import Item
from rerank_async.bulk.journal import Journal, check_unlocked, read_back
from rerank_async.bulk.results import JsonResults, RunResults, assemble, done_id, places_of
from rerank_async.values.response import RerankResult

# The journal


@given(
    whole=st.lists(st.dictionaries(st.text(max_size=5), st.integers(), max_size=3), max_size=5),
    torn=st.binary(max_size=40).filter(lambda data: b"\n" not in data),
)
def test_whatever_follows_the_last_whole_line_is_cut_off(tmp_path_factory, whole, torn):
    path = tmp_path_factory.mktemp("journal") / "j"
    content = b"".join(json.dumps(value).encode() + b"\n" for value in whole)
    path.write_bytes(content + torn)
    journal = Journal(path)
    assert journal.repaired == len(torn)
    journal.append(b'{"more": 1}\n')
    journal.close()
    assert path.read_bytes() == content + b'{"more": 1}\n'


@pytest.mark.parametrize("last", [b"\0\0\0\n", b'{"a": 1\n', b"hello\n", b"[]\n"])
def test_a_whole_last_line_that_is_no_object_goes_too(tmp_path, last):
    path = tmp_path / "j"
    path.write_bytes(b'{"a": 1}\n' + last)
    Journal(path).close()
    assert path.read_bytes() == b'{"a": 1}\n'


def test_a_long_line_is_found_across_blocks(tmp_path):
    path = tmp_path / "j"
    line = json.dumps({"a": "x" * 200_000}).encode() + b"\n"
    path.write_bytes(line + line + line[:150_000])
    Journal(path).close()
    assert path.read_bytes() == line + line


def test_two_writers_of_one_journal_are_one_too_many(tmp_path):
    first = Journal(tmp_path / "j")
    with pytest.raises(JobError, match="another process writes"):
        Journal(tmp_path / "j")
    first.close()
    Journal(tmp_path / "j").close()


def test_a_journal_that_another_process_removed_at_its_end_is_made_anew(tmp_path, monkeypatch):
    path = tmp_path / "j"
    flock = fcntl.flock

    def ending(file, how):
        if removed:
            removed.pop().unlink()  # it was opened, and is not yet locked
        flock(file, how)

    removed = [path]
    monkeypatch.setattr(fcntl, "flock", ending)
    journal = Journal(path)
    journal.append(b"{}\n")
    journal.close()
    assert path.read_bytes() == b"{}\n"


def test_only_the_journal_of_another_process_is_one(tmp_path):
    check_unlocked(tmp_path / "absent")
    journal = Journal(tmp_path / "j")
    with pytest.raises(JobError, match=f"another process writes {tmp_path / 'j'};"):
        check_unlocked(tmp_path / "j")
    journal.close()
    check_unlocked(tmp_path / "j")
    Journal(tmp_path / "j").close()


def test_reading_back_leaves_out_what_is_not_finished(tmp_path):
    (tmp_path / "j").write_bytes(b"ab\nc\nde")
    assert list(read_back(tmp_path / "j")) == [(0, b"ab\n"), (3, b"c\n")]
    assert list(read_back(tmp_path / "absent")) == []


def test_a_journal_that_cannot_be_written_says_how_to_go_on(tmp_path):
    with pytest.raises(
        OutputError, match=r"make room .* go on .* --resume; a job that reads standard input begins anew"
    ):
        Journal(tmp_path / "no" / "j")


# Results


def item(at=0, name="q", names=("a", "b", "c")):
    return Item(at, at + 1, name, "query", ["x", "y", "z"], None if names is None else list(names))


scores = st.floats(allow_nan=False, allow_infinity=False)
ids = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.integers()


@given(
    name=ids,
    names=st.none() | st.lists(st.none() | ids, min_size=3, max_size=3),
    found=st.lists(scores, max_size=3),
    at=st.integers(0, 10**9),
)
def test_json_results_are_json_with_every_digit(name, names, found, at):
    results = [RerankResult(index, score) for index, score in enumerate(found)]
    form, each = JsonResults(), item(at, name, names)
    line = form.line(each, results)
    keys = [
        {"index": index} if names is None or names[index] is None else {"id": names[index]}
        for index in range(len(found))
    ]
    right = [key | {"score": score} for key, score in zip(keys, found, strict=True)]
    assert json.loads(line) == {"id": name, "results": right}
    for result, score in zip(json.loads(line)["results"], found, strict=True):
        assert repr(result["score"]) == repr(score)
    assert json.loads(done_id(line)) == name
    assert line.count(b"\n") == 1
    assert form.from_record(form.record(each, results)) == line


@given(found=st.lists(scores, max_size=3))
def test_numbers_are_written_as_python_writes_them_whatever_the_codec(found):
    results = [RerankResult(index, score) for index, score in enumerate(found)]
    rows = RunResults("t").line(item(), results).decode().splitlines()
    assert [row.split()[4] for row in rows] == list(map(repr, found))


def test_a_run_has_a_row_for_each_result_and_comes_back_out_of_its_record():
    form = RunResults("tag")
    results = [RerankResult(2, 0.5), RerankResult(0, -1e-7)]
    rows = form.line(item(), results)
    assert rows == b"q Q0 c 1 0.5 tag\nq Q0 a 2 -1e-07 tag\n"
    assert form.from_record(form.record(item(), results)) == rows
    assert form.line(item(), []) == form.from_record(form.record(item(), [])) == b""


@pytest.mark.parametrize(
    "line", [b"", b"{}\n", b'{"id":"a"}\n', b'{"id":"a","results":[]}', b'{"at":1,"results":[]}\n']
)
def test_what_is_no_finished_query_has_no_id(line):
    assert done_id(line) is None


def journal_of(path, *ats):
    form = JsonResults()
    path.write_bytes(b"".join(form.record(item(at, f"q{at}"), [RerankResult(0, at / 8)]) for at in ats))
    return path


@given(ats=st.lists(st.integers(0, 60)))
def test_the_output_has_the_sources_order_and_each_query_once(tmp_path_factory, ats):
    folder = tmp_path_factory.mktemp("assemble")
    journal = journal_of(folder / "j", *ats)
    places = places_of(journal)
    assert places.count == len(set(ats))
    assert [at for at in range(70) if at in places] == sorted(set(ats))
    assemble(journal, folder / "out", JsonResults())
    found = [json.loads(line)["id"] for line in (folder / "out").read_bytes().splitlines()]
    assert found == [f"q{at}" for at in sorted(set(ats))]


def test_a_spoilt_journal_is_not_read_on(tmp_path):
    journal = journal_of(tmp_path / "j", 1)
    with journal.open("ab") as file:
        file.write(b'{"at":x,"id":1}\n')
    with pytest.raises(SourceError, match="j, line 2: not a finished query of this job"):
        places_of(journal)


# Files


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    path = tmp_path / "out"
    path.write_bytes(b"before")

    def interrupted():
        with replace_file(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert path.read_bytes() == b"before"
    with replace_file(path) as file:
        file.write(b"whole")
    assert path.read_bytes() == b"whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_compressed_file_holds_neither_time_nor_name(tmp_path):
    for name in ("a", "b"):
        with replace_file(tmp_path / name, compressed=True) as file:
            file.write(b"x" * 1000)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert gzip.decompress((tmp_path / "a").read_bytes()) == b"x" * 1000


def test_an_empty_journal_does_not_count_as_there(tmp_path):
    files = JobFiles.of(str(tmp_path / "out"), appended=True)
    assert files.there() == []
    files.output.touch()
    assert files.there() == []
    files.output.write_bytes(b"x")
    assert files.there() == [files.output]


@pytest.mark.parametrize("name", ["out", "out.journal", "out.job.json", "out.failed.jsonl", ".out.77.tmp"])
@pytest.mark.parametrize("link", [None, "symlink_to", "hardlink_to"])
def test_no_file_of_a_job_may_be_one_that_is_read(tmp_path, name, link):
    files = JobFiles.of(str(tmp_path / "out"), appended=True)
    (tmp_path / name).write_bytes(b"precious")
    read = tmp_path / name
    if link is not None:
        read = tmp_path / "elsewhere"
        getattr(read, link)(tmp_path / name)
    files.check_apart({"the source": str(tmp_path / "another"), "the run": "-"})
    with pytest.raises(JobError) as caught:
        files.check_apart({"the source": str(tmp_path / "another"), "the corpus": str(read)})
    assert f"{tmp_path / name}, " in str(caught.value)
    assert f"the same file as the corpus, {read}, which would be lost" in str(caught.value)


@pytest.mark.parametrize("pid", [7, 4_194_304, 4_294_967_295])
def test_the_longest_name_is_the_same_for_every_process(tmp_path, monkeypatch, pid):
    monkeypatch.setattr("os.getpid", lambda: pid)
    JobFiles.of(str(tmp_path / ("x" * LONGEST_NAME)), appended=True).check_place()
    with pytest.raises(OutputError, match="too long"):
        JobFiles.of(str(tmp_path / ("x" * (LONGEST_NAME + 1))), appended=True).check_place()


# Identity

FACTS = {"model_id": "m", "params": {}, "depth": None, "output": "jsonl", "source": {"name": "a", "sha256": "00"}}


def test_an_identity_comes_back_as_it_was_written(tmp_path):
    assert read_identity(tmp_path / "job") is None
    write_identity(tmp_path / "job", FACTS, finished=True)
    found = read_identity(tmp_path / "job")
    assert found == {"format": 2, "finished": True, **FACTS}
    check_same(tmp_path / "job", found, FACTS)
    check_same(tmp_path / "job", found, FACTS | {"source": {"name": "renamed", "sha256": "00"}})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"model_id": "n"}, 'the model was "m", now it is "n"'),
        (
            {"params": {"truncate_input_tokens": 5}},
            r'the parameters were .*, now they are {"truncate_input_tokens": 5}',
        ),
        ({"depth": 5}, "the depth was null, now it is 5"),
        ({"source": {"name": "a", "sha256": "11"}}, "the source has changed since the job began"),
        ({"source": None, "run": {"name": "a", "sha256": "00"}}, "the source was"),
    ],
    ids=["model", "params", "depth", "content", "kind"],
)
def test_each_difference_is_named(tmp_path, change, words):
    with pytest.raises(JobError, match=words):
        check_same(tmp_path / "job", FACTS, FACTS | change)


def test_the_other_order_is_named_as_the_difference(tmp_path):
    with pytest.raises(JobError, match='the order of the output was "completion", now it is "source"'):
        check_same(tmp_path / "job", FACTS | {"order": "completion"}, FACTS | {"order": "source"})


def test_a_job_that_read_standard_input_is_not_taken_for_a_file_that_changed(tmp_path):
    piped = FACTS | {"source": {"name": "standard input", "sha256": None}}
    with pytest.raises(JobError, match="the source was standard input, which cannot be compared"):
        check_same(tmp_path / "job", piped, FACTS)


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": 3}', b"\xff"])
def test_a_file_that_is_no_identity_is_refused(tmp_path, content):
    (tmp_path / "job").write_bytes(content)
    with pytest.raises(JobError, match="--overwrite"):
        read_identity(tmp_path / "job")


@given(names=st.lists(st.binary(max_size=3)))
def test_ids_are_new_once(names):
    ids, seen = IdSet(), set()
    for name in names:
        assert (name in ids) == (name in seen)
        assert ids.add(name) == (name not in seen)
        seen.add(name)
    assert len(ids) == len(seen)
    ids.close()
