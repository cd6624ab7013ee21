"""Corpora: the same texts from memory, through an index on the disk, and out of a compressed file."""

import fcntl
import gzip
import json
import os
import sqlite3
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import codecs
from support.bulk_jobs import small_databases

from rerank_async.bulk import index
from rerank_async.bulk.errors import OutputError, SourceError
from rerank_async.bulk.index import TextsOnDisk
from rerank_async.bulk.lookup import SUFFIX, open_texts
from rerank_async.bulk.texts import LackingError

KINDS = ["memory", "disk", "compressed"]


def opened(folder, content, kind, name="corpus"):
    path = folder / (f"{name}.gz" if kind == "compressed" else name)
    path.write_bytes(gzip.compress(content) if kind == "compressed" else content)
    return open_texts(str(path), in_memory=10**9 if kind == "memory" else 0)


def as_lines(documents):
    return b"".join(json.dumps(each, ensure_ascii=False).encode() + b"\n" for each in documents)


words = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
corpora = st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8), words, max_size=40)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(corpus=corpora, title=words, draw=st.randoms())
def test_every_text_is_found_and_nothing_else(tmp_path_factory, kind, corpus, title, draw):
    documents = [{"_id": name, "title": title, "text": text} for name, text in corpus.items()]
    texts = opened(tmp_path_factory.mktemp("texts"), as_lines(documents), kind)
    try:
        names = list(corpus)
        draw.shuffle(names)
        right = {name: f"{title} {text}".strip() if title else text for name, text in corpus.items()}
        assert texts.fetch(names) == [right[name] for name in names]
        with pytest.raises(LackingError):
            texts.fetch([*names, "a name that is not there"])
        assert texts.fetch([]) == []
    finally:
        texts.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "name", "text"),
    [
        (b"7\tone\ttwo\n", "7", "one two"),
        (b"\xef\xbb\xbf7\tone\r\n\n8\ttwo", "8", "two"),
        (b"\xef\xbb\xbf7\tone\r\n\n8\ttwo", "7", "one"),
        (b'{"id": 7, "text": "one"}\n', "7", "one"),
        (b'{"_id": "7", "title": null, "text": ""}\n', "7", ""),
        (b'  {"_id": "7", "text": "one"}  \n', "7", "one"),
        (b'{"_id": "7", "text": "' + b"x" * 50_000 + b'"}\n{"_id": "8", "text": "y"}', "7", "x" * 50_000),
        ('{"_id": "ü", "text": "naïve"}\n'.encode(), "ü", "naïve"),
    ],
    ids=["tabs", "no end", "mark", "number", "empty", "blanks", "long", "letters"],
)
def test_lines_of_every_kind(tmp_path, kind, content, name, text):
    texts = opened(tmp_path, content, kind)
    assert texts.fetch([name]) == [text]
    texts.close()


@pytest.mark.parametrize("codec", codecs.NAMES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("line", [rb'{"_id": "\ud800", "text": "x"}', rb'{"_id": "b", "text": "\udfff"}'])
def test_half_of_a_surrogate_pair_is_named_with_its_line_under_either_codec(tmp_path, codec, kind, line):
    with codecs.use_codec(codec), pytest.raises(SourceError, match=r"line 2: JSON that .* half of a surrogate pair"):
        opened(tmp_path, b'{"_id": "a", "text": "x"}\n' + line + b"\n", kind)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b'{"_id": "a", "text": "x"}\n{"_id": "a", "text": "y"}\n', "line 2: the id 'a' stands in line 1 too"),
        (b'{"_id": "a", "text": "x"}\n{"_id": "b"}\n', "line 2: no field 'text'; its fields: '_id'"),
        (b'{"_id": "a", "text": "x"}\n\n{"text": "x"}\n', "line 3: no field 'id'"),
        (b'{"_id": 1.5, "text": "x"}\n', "line 1: the field '_id' is a JSON number, not a string"),
        (b'{"_id": "a", "text": "x"}\nb\tx\n', "line 2: not JSON"),
        (b"a\tx\nb x\n", "line 2: no tab"),
        (b"a\tx\nb\t\xff\n", "line 2: byte 3 is not UTF-8"),
    ],
    ids=["twice", "text", "id", "number", "mixed", "tab", "latin"],
)
def test_what_is_wrong_is_said_with_its_line_and_leaves_nothing_behind(tmp_path, kind, content, words):
    with pytest.raises(SourceError) as caught:
        opened(tmp_path, content, kind)
    assert words in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if "rerank-index" in path.name] == []


@pytest.mark.parametrize("kind", ["disk", "compressed"])
def test_an_index_is_used_again_until_the_file_changes(tmp_path, kind):
    first = opened(tmp_path, b"a\tx\n", kind)
    assert first.built_seconds > 0
    first.close()
    again = open_texts(first.path, in_memory=0)
    assert (again.built_seconds, again.digest, again.fetch(["a"])) == (0.0, first.digest, ["x"])
    again.close()
    changed = opened(tmp_path, b"a\ty\nb\tz\n", kind)
    assert changed.built_seconds > 0
    assert changed.fetch(["b", "a"]) == ["z", "y"]
    changed.close()


@pytest.mark.parametrize("kind", ["disk", "compressed"])
def test_an_index_that_was_cut_is_made_anew(tmp_path, kind):
    texts = opened(tmp_path, b"a\tx\n", kind)
    texts.close()
    beside = tmp_path / f"{Path(texts.path).name}{SUFFIX}"
    beside.write_bytes(beside.read_bytes()[:4100])
    again = open_texts(texts.path, in_memory=0)
    assert again.built_seconds > 0
    assert again.fetch(["a"]) == ["x"]
    again.close()


NUMBERED = b"".join(b"n%d\ttext %d\n" % (number, number) for number in range(2000))


@pytest.mark.parametrize("filling", [b"\0", b"\xff"], ids=["zeros", "ones"])
def test_a_damaged_index_of_the_right_size_is_made_anew(tmp_path, filling):
    first = opened(tmp_path, NUMBERED, "disk")
    first.close()
    beside = tmp_path / f"corpus{SUFFIX}"
    whole = beside.read_bytes()
    beside.write_bytes(whole[:8192] + filling * 4096 + whole[12288:])
    again = open_texts(first.path, in_memory=0)
    assert again.built_seconds > 0
    assert again.fetch([f"n{number}" for number in range(2000)]) == [f"text {number}" for number in range(2000)]
    again.close()
    assert beside.read_bytes() == whole


def test_a_damaged_copy_of_a_compressed_file_is_named_with_what_to_do(tmp_path):
    opened(tmp_path, NUMBERED, "compressed").close()
    beside = tmp_path / f"corpus.gz{SUFFIX}"
    whole = beside.read_bytes()
    beside.write_bytes(whole[:8192] + bytes(8192) + whole[16384:])
    texts = open_texts(str(tmp_path / "corpus.gz"), in_memory=0)
    assert texts.built_seconds == 0.0
    with pytest.raises(SourceError) as caught:
        texts.fetch([f"n{number}" for number in range(2000)])
    texts.close()
    words = f"{beside}, cannot be read: database disk image is malformed; delete {beside}, then give the same command"
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["disk", "compressed"])
def test_an_index_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch, kind):
    synced = []

    def fsync(handle):
        facts = os.fstat(handle)
        synced.append((facts.st_ino, facts.st_size, list(tmp_path.glob(f"corpus*{SUFFIX}"))))

    monkeypatch.setattr(os, "fsync", fsync)
    opened(tmp_path, b"a\tx\n", kind).close()
    (beside,) = tmp_path.glob(f"corpus*{SUFFIX}")
    assert synced == [(beside.stat().st_ino, beside.stat().st_size, [])]


def test_an_index_that_does_not_reach_the_disk_is_an_output_that_cannot_be_written(tmp_path, monkeypatch):
    def fsync(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(OutputError, match=r"the index of .*/corpus in .*: No space left on device; make room there"):
        opened(tmp_path, b"a\tx\n", "disk")
    assert [path.name for path in tmp_path.iterdir()] == ["corpus"]


@pytest.mark.parametrize("kind", ["disk", "compressed"])
def test_beside_a_folder_that_is_not_writable_the_index_is_temporary(tmp_path, kind, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(elsewhere))
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    texts = opened(tmp_path, b"a\tx\n", kind)
    assert list(elsewhere.iterdir()) == [], "it has no name, so that kill -9 leaves nothing either"
    assert texts.fetch(["a"]) == ["x"]
    texts.close()
    assert list(elsewhere.iterdir()) == []
    assert stat.S_ISREG((tmp_path / Path(texts.path).name).stat().st_mode)


@pytest.mark.parametrize("kind", ["disk", "compressed"])
@pytest.mark.parametrize("cause", ["a folder", "somebody else's file"])
def test_an_index_whose_name_cannot_be_had_serves_its_job_without_one(tmp_path, kind, cause, monkeypatch):
    beside = tmp_path / f"corpus{'.gz' if kind == 'compressed' else ''}{SUFFIX}"
    if cause == "a folder":
        beside.mkdir()
    else:
        beside.write_bytes(b"an index of before")

        def replace(source, target):  # as in a sticky folder, where only its owner may replace a file
            raise PermissionError(1, "Operation not permitted")

        monkeypatch.setattr(os, "replace", replace)
    texts = opened(tmp_path, b"a\tx\n", kind)
    assert texts.built_seconds > 0
    assert texts.fetch(["a"]) == ["x"]
    texts.close()
    assert sorted(tmp_path.iterdir()) == sorted([Path(texts.path), beside])
    assert beside.is_dir() or beside.read_bytes() == b"an index of before"


@pytest.mark.parametrize("kind", ["disk", "compressed"])
@pytest.mark.parametrize("current", [False, True])
def test_what_was_left_by_who_was_killed_while_he_built_an_index_is_removed(tmp_path, kind, current):
    name = f"corpus{'.gz' if kind == 'compressed' else ''}{SUFFIX}"
    if current:
        opened(tmp_path, b"a\tx\n", kind).close()
    left = [tmp_path / f".{name}.{number}.tmp" for number in (7, os.getpid(), "0123456789abcdef")]
    others = [tmp_path / f".other{SUFFIX}.7.tmp", tmp_path / f".{name}.7.tmp.txt", tmp_path / f".{name}.77.tmp"]
    for path in (*left, *others):
        path.write_bytes(b"half of an index")
    with others[-1].open("r+b") as file:  # somebody else builds it at the moment
        fcntl.flock(file, fcntl.LOCK_EX)
        texts = (
            opened(tmp_path, b"a\tx\n", kind)
            if not current
            else open_texts(str(tmp_path / name[: -len(SUFFIX)]), in_memory=0)
        )
    assert (texts.built_seconds == 0.0) == current
    assert texts.fetch(["a"]) == ["x"]
    texts.close()
    assert [path for path in left if path.exists()] == []
    assert [path for path in others if not path.exists()] == []


@pytest.mark.parametrize("kind", ["disk", "compressed"])
def test_an_index_that_is_built_is_locked_so_that_nobody_takes_it_for_abandoned(tmp_path, kind):
    seen = []

    def check():
        (made,) = tmp_path.glob(f".corpus*{SUFFIX}.*.tmp")
        with made.open("r+b") as file, pytest.raises(BlockingIOError):
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        seen.append(made)

    content = b"".join(b"n%d\tx\n" % number for number in range(2000))
    path = tmp_path / ("corpus.gz" if kind == "compressed" else "corpus")
    path.write_bytes(gzip.compress(content) if kind == "compressed" else content)
    texts = open_texts(str(path), in_memory=0, check=check)
    texts.close()
    assert seen
    assert not seen[0].exists()


def test_ids_with_the_same_checksum_are_told_apart(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "crc32", lambda data, so_far=0: 123_456_789)
    texts = opened(tmp_path, b"".join(b"n%d\ttext %d\n" % (number, number) for number in range(50)), "disk")
    assert isinstance(texts, TextsOnDisk)
    assert texts.fetch(["n7", "n49", "n0"]) == ["text 7", "text 49", "text 0"]
    with pytest.raises(LackingError, match="n50"):
        texts.fetch(["n1", "n50"])
    texts.close()
    with pytest.raises(SourceError, match="line 3: the id 'a' stands in line 1 too"):
        opened(tmp_path, b"a\tx\nb\ty\na\tz\n", "disk", "other")


def test_a_table_that_is_larger_than_may_stay_in_memory_is_let_go_of(tmp_path, monkeypatch):
    monkeypatch.setattr(index, "_RESIDENT", 0)
    monkeypatch.setattr(index, "_FETCHES", 2)
    texts = opened(tmp_path, b"".join(b"n%d\tx\n" % number for number in range(5000)), "disk")
    assert [texts.fetch([f"n{number}"]) for number in range(100)] == [["x"]] * 100
    texts.close()


def test_building_ends_where_it_is_asked_to(tmp_path):
    path = tmp_path / "corpus"
    path.write_bytes(b"".join(b"n%d\tx\n" % number for number in range(5000)))

    def check():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_texts(str(path), in_memory=0, check=check)
    assert list(tmp_path.iterdir()) == [path]


def test_an_index_for_which_there_is_no_room_is_an_output_that_cannot_be_written(tmp_path):
    (tmp_path / "corpus").write_bytes(b"a\tx\n")
    words = (
        "cannot write the index of .*/corpus in .*/no: No such file or directory; make room there, then give the same"
    )
    with pytest.raises(OutputError, match=words):
        index.build(str(tmp_path / "corpus"), tmp_path / "no" / "index", "stamp", lambda: None)


@pytest.mark.parametrize(("kind", "what"), [("disk", "index"), ("compressed", "copy")])
def test_temporary_files_for_which_there_is_no_room_are_named_with_their_folder(tmp_path, monkeypatch, kind, what):
    folder = tmp_path / "scratch"
    folder.mkdir()
    monkeypatch.setenv("SQLITE_TMPDIR", str(folder))
    monkeypatch.setattr("sqlite3.connect", small_databases(sqlite3.connect))
    with pytest.raises(OutputError) as caught:
        opened(tmp_path, b"".join(b"n%d\tx\n" % number for number in range(5000)), kind)
    assert f"the {what} of {tmp_path}/corpus" in str(caught.value)
    assert f"in {folder}: database or disk is full; make room there, or name another folder" in str(caught.value)
    assert "then give the same command again" in str(caught.value)
    assert [path.name for path in tmp_path.iterdir() if "rerank-index" in path.name] == []


def test_a_pipe_cannot_be_looked_up_in_and_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "corpus.gz")
    with pytest.raises(SourceError, match=r"corpus.gz is a pipe or a device; .* write it into a file first"):
        open_texts(str(tmp_path / "corpus.gz"))


@pytest.mark.parametrize(("path", "words"), [("-", "standard input does not allow"), ("absent", "cannot read absent")])
def test_what_cannot_be_looked_up_in(path, words):
    with pytest.raises(SourceError, match=words):
        open_texts(path)


@pytest.mark.parametrize(
    ("name", "in_memory", "module"),
    [("c.tsv", 10**9, "texts"), ("c.tsv", 0, "index"), ("c.tsv.gz", 0, "copied")],
    ids=["in memory", "on the disk", "copied"],
)
def test_a_file_that_is_written_while_it_is_read_is_refused_and_leaves_no_index(
    tmp_path, monkeypatch, name, in_memory, module
):
    path = tmp_path / name
    path.write_bytes(gzip.compress(b"a\tone\n") if name.endswith(".gz") else b"a\tone\n")
    with monkeypatch.context() as patch:

        def changing(_):
            with path.open("ab") as file:
                file.write(gzip.compress(b"b\ttwo\n") if name.endswith(".gz") else b"b\ttwo\n")
            return "00"

        patch.setattr(f"rerank_async.bulk.{module}.digest_of", changing)
        with pytest.raises(SourceError, match=rf"{name} has changed while it was read; give the same command again"):
            open_texts(str(path), in_memory=in_memory)
    assert list(tmp_path.iterdir()) == [path]
    texts = open_texts(str(path), in_memory=in_memory)
    assert texts.fetch(["b", "a"]) == ["two", "one"]
    texts.close()
