"""`rerank_file` and `plan_file`: a whole source, reranked into a file, or only planned."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import attrs

from rerank_async.bulk.events import BulkObserver
from rerank_async.bulk.files import STANDARD_OUTPUT
from rerank_async.bulk.items import BadItem, Item
from rerank_async.bulk.job import BulkJob
from rerank_async.bulk.ledger import FileLedger, Ledger, StreamLedger, is_appended
from rerank_async.bulk.planning import BulkPlan, plan_of
from rerank_async.bulk.reader import Reader
from rerank_async.bulk.results import JsonResults, Results, RunResults
from rerank_async.bulk.settings import JobSettings
from rerank_async.bulk.source import Source
from rerank_async.client import AsyncRerank
from rerank_async.errors import InvalidArgumentError

StrPath = str | os.PathLike[str]

_TAG = "rerank_async"
_JSON_SUFFIXES = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")


def rerank_file(
    client: AsyncRerank,
    source: StrPath | None,
    output: StrPath | BinaryIO,
    *,
    run: StrPath | None = None,
    corpus: StrPath | None = None,
    queries: StrPath | None = None,
    depth: int | None = None,
    tag: str | None = None,
    ordered: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    retry_failed: bool = False,
    on_error: str = "skip",
    max_in_flight: int = 64,
    max_outage: float = 600.0,
    observer: BulkObserver | None = None,
) -> BulkJob:
    """A job that reranks every query of a source. Nothing is read or sent before it is awaited or entered.

        summary = await rerank_file(client, "queries.jsonl", "ranked.jsonl", resume=True)

    What is finished is written at once to a journal: ``OUTPUT`` itself where that is plain JSON Lines in the order of
    completion, else ``OUTPUT.journal``, from which the output is written at the end. ``OUTPUT.job.json`` says which job
    it is, ``OUTPUT.failed.jsonl`` lists queries that failed. The parameters and ``top_n`` are the client's ``params``.

    Args:
        client: Ranks; it stays its maker's to close.
        source: JSON Lines of ``{"id", "query", "inputs": [str | {"id", "text"}]}``, compressed if the name ends in
            ``.gz``, ``-`` for standard input; None with ``run``.
        output: A file, compressed if its name ends in ``.gz``; or a binary stream, which keeps nothing. Of a run it is a
            run too, unless the name ends in ``.jsonl``; else JSON Lines of ``{"id", "results": [{"id" | "index",
            "score"}]}``.
        run: A TREC run instead of ``source``.
        corpus: The documents of ``run``: JSON Lines of ``{"_id", "title", "text"}``, or lines of id, tab, text.
        queries: The queries of ``run``, likewise.
        depth: Only the first so many candidates of each query, at least 1; None: all.
        tag: The last column of a run that is written; None: ``rerank_async``. Only where a run is written.
        ordered: The output is in the source's order. What is written from a journal always is.
        resume: Go on with a job that was not finished, or begin it.
        overwrite: Begin anew, whatever is there.
        retry_failed: As ``resume``, and take up again what failed.
        on_error: ``"skip"``: a query that fails is listed, and the job goes on; ``"stop"``: the job ends.
        max_in_flight: Queries under way at the same time, at least 1.
        max_outage: Seconds for which a service that does not answer is waited for, at least 0.
        observer: Takes the events of `rerank_async.bulk` and of `rerank_async`, synchronously.

    Raises:
        InvalidArgumentError: An argument is wrong. Awaiting the job raises: `JobError`, it cannot be begun so;
            `SourceError`, the source cannot be read, or has changed while the job read it; `OutputError`, something cannot be written; `JobStoppedError`, the
            service ended it. After each of them it can be resumed, unless it reads standard input.
    """
    files = _source(source, run=run, corpus=corpus, queries=queries, depth=depth)
    settings = JobSettings(
        resume=resume,
        overwrite=overwrite,
        retry_failed=retry_failed,
        ordered=ordered,
        on_error=on_error,
        max_in_flight=max_in_flight,
        max_outage=max_outage,
    )
    if isinstance(output, str | os.PathLike):
        name = _path(output, "output")
        results = _results(files, name, tag)
        ledger: Ledger = FileLedger(name, results, appended=is_appended(name, results, ordered=ordered))
    else:
        _check_stream(output)
        name = STANDARD_OUTPUT
        results = _results(files, name, tag)
        ledger = StreamLedger(output, results, ordered=ordered)
    identity = {
        "model_id": client.model_id,
        "params": _plain(attrs.asdict(client._params)),  # noqa: SLF001 - what its requests will carry
        "output": results.kind,
        "tag": (_TAG if tag is None else tag) if results.kind == "run" else None,
    }
    return BulkJob(client, files, ledger, settings, output_name=name, identity=identity, observer=observer)


async def plan_file(
    client: AsyncRerank,
    source: StrPath | None,
    *,
    run: StrPath | None = None,
    corpus: StrPath | None = None,
    queries: StrPath | None = None,
    depth: int | None = None,
) -> BulkPlan:
    """What `rerank_file` would send for the whole of a source. Nothing is sent, and nothing written but an index.

    The arguments are those of `rerank_file`.

    Raises:
        InvalidArgumentError: An argument is wrong.
        SourceError: The source cannot be read, or has changed meanwhile.
        OutputError: There is no room for the index of a large corpus.
    """
    files = _source(source, run=run, corpus=corpus, queries=queries, depth=depth)
    with ThreadPoolExecutor(1, thread_name_prefix="rerank_async bulk") as thread:

        def work() -> BulkPlan:
            reader: Reader | None = None
            try:
                files.open()
                files.survey()
                reader = Reader(files, lambda _at, _key: False, set(), thread)
                plan = plan_of(client, _all(reader), lambda: files.built_seconds)
                files.check_unchanged()
                return plan
            finally:
                if reader is not None:
                    reader.close()
                files.close()

        try:
            return await asyncio.get_running_loop().run_in_executor(thread, work)
        finally:
            files.halt()


def _all(reader: Reader) -> Iterator[Item | BadItem]:
    while (found := reader.read_one()) is not None:
        yield found


def _source(path: StrPath | None, *, depth: int | None, **others: StrPath | None) -> Source:
    if depth is not None and (type(depth) is not int or depth < 1):
        raise InvalidArgumentError(f"depth must be an int of at least 1, not {depth!r}", argument="depth")
    named = {"source": path, **others}
    found = {name: None if value is None else _path(value, name) for name, value in named.items()}
    return Source(found.pop("source"), **found, depth=depth)


def _path(path: StrPath, argument: str) -> str:
    name = os.fspath(path)
    if not name:
        raise InvalidArgumentError(f"{argument} is empty; name a file", argument=argument)
    return name


def _check_stream(output: BinaryIO) -> None:
    try:
        output.write(b"")
    except (AttributeError, TypeError, ValueError) as exc:
        words = (
            f"output takes no bytes ({exc}); give the name of a file, or a binary stream that is open for writing, such as "
            "sys.stdout.buffer or io.BytesIO()"
        )
        raise InvalidArgumentError(words, argument="output") from exc
    except OSError:
        pass  # such as no room: the job says so when there is something to write


def _results(source: Source, output: str, tag: str | None) -> Results:
    if not source.is_run or Path(output).name.endswith(_JSON_SUFFIXES):
        if tag is not None:
            words = "tag (--tag) is the last column of a run, but JSON Lines are written, which have none; leave it out"
            raise InvalidArgumentError(words, argument="tag")
        return JsonResults()
    tag = _TAG if tag is None else tag
    if not tag or any(map(str.isspace, tag)):
        raise InvalidArgumentError(f"tag must be one word, not {tag!r}", argument="tag")
    try:
        tag.encode()
    except UnicodeEncodeError:
        words = f"tag must be UTF-8, which {tag!r} is not"
        raise InvalidArgumentError(words, argument="tag") from None
    return RunResults(tag)


def _plain(params: dict[str, Any]) -> dict[str, Any]:
    """Without what was not given."""
    found = {name: _plain(value) if isinstance(value, dict) else value for name, value in params.items()}
    return {name: value for name, value in found.items() if value is not None and value != {}}
