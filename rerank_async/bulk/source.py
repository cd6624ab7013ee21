"""What a job reads: JSON Lines with everything in them, or a run with its corpus and queries."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from rerank_async.bulk.errors import SourceError
from rerank_async.bulk.items import BadItem, Item, read_jsonl
from rerank_async.bulk.lines import STANDARD_INPUT, has_changed, is_stream, name_of, numbered_lines, open_binary
from rerank_async.bulk.lookup import open_texts
from rerank_async.bulk.runs import read_groups_once, read_run_items
from rerank_async.bulk.texts import Texts
from rerank_async.errors import InvalidArgumentError


class HaltedError(Exception):
    """The work was ended by `Source.halt`."""


class Survey(NamedTuple):
    """A source, read once from end to end.

    Attributes:
        queries: How many there are, those that cannot be sent included; None: standard input, which is read once only.
        digest: Of every byte of it, blank lines too, because lines have numbers; of a compressed file, of what is in it;
            None likewise.
    """

    queries: int | None
    digest: str | None


class Source:
    """The queries of a job; to be closed."""

    def __init__(
        self,
        path: str | None = None,
        *,
        run: str | None = None,
        corpus: str | None = None,
        queries: str | None = None,
        depth: int | None = None,
    ) -> None:
        """Checks that the names fit together; nothing is read.

        Args:
            path: JSON Lines, or ``-``.
            run: A TREC run instead, or ``-``; needs the next two.
            corpus: The documents.
            queries: The queries.
            depth: Only the first so many candidates of each query; None: all.

        Raises:
            InvalidArgumentError: They do not.
        """
        if (path is None) == (run is None):
            raise InvalidArgumentError("one source is needed: a file of JSON Lines, or a run", argument="source")
        for name, value, what in (("corpus", corpus, "documents"), ("queries", queries, "queries")):
            if (run is None) != (value is None):
                words = (
                    f"a run needs the file of its {what}: give {name} (--{name})"
                    if run is not None
                    else f"only the {what} of a run are looked up: give run (--run) too, or leave {name} (--{name}) out"
                )
                raise InvalidArgumentError(words, argument=name)
        self._main: str = run if run is not None else path  # type: ignore[assignment]  # one of them is given
        self._run = run is not None
        self._corpus, self._queries = corpus, queries
        self._depth = depth
        self._texts: list[Texts] = []
        self._file: BinaryIO | None = None
        self._status: os.stat_result | None = None
        self._halted = threading.Event()

    @property
    def is_run(self) -> bool:
        """Whether it is a run."""
        return self._run

    @property
    def name(self) -> str:
        """The main file, for messages."""
        return name_of(self._main)

    @property
    def files(self) -> dict[str, str]:
        """What is read, by what it is."""
        found = {"the run" if self._run else "the source": self._main, "the corpus": self._corpus}
        return {
            what: path for what, path in (found | {"the file of queries": self._queries}).items() if path is not None
        }

    @property
    def is_pipe(self) -> bool:
        """Whether it is standard input, which can be read once only."""
        return self._main == STANDARD_INPUT

    @property
    def built_seconds(self) -> float:
        """How long the indexes took to build; 0.0: they were there, or none are needed."""
        return sum(texts.built_seconds for texts in self._texts)

    def open(self) -> None:
        """Opens all files, so that what they hold now is what is read; builds an index where that is needed.

        Raises:
            SourceError: A file cannot be used. So can none that is read once only, because a job reads its files twice.
            OutputError: There is no room for an index.
        """
        if not self.is_pipe and is_stream(self._main):
            raise SourceError(
                f"{self._main} is a pipe or a device, which can be read once only; give - and pipe it into standard "
                "input, or write it into a file first"
            )
        if not self.is_pipe and self._file is None:
            self._file = open_binary(self._main)
            self._status = os.fstat(self._file.fileno())
        if self._run and not self._texts:
            assert self._corpus is not None and self._queries is not None  # noqa: PT018, S101 - checked by __init__
            self._texts.append(open_texts(self._queries, check=self._check))
            self._texts.append(open_texts(self._corpus, check=self._check))

    def halt(self) -> None:
        """Ends `open` and `survey`, which may run in another thread, soon; they raise `HaltedError`."""
        self._halted.set()

    def close(self) -> None:
        """Closes what `open` opened. Harmless when repeated."""
        for texts in self._texts:
            texts.close()
        self._texts.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def check_unchanged(self) -> None:
        """Looks whether what was read up to now is what the files held when they were opened.

        By size and time, which costs next to nothing: a digest would tell only at the end, when queries of another
        content had been sent and kept. A file that was replaced by another of its name is read on as it was.

        Raises:
            SourceError: A file has changed.
        """
        changed = [texts.path for texts in self._texts if texts.changed]
        if self._file is not None and self._status is not None:
            changed += [self.name] * has_changed(self._status, os.fstat(self._file.fileno()))
        if changed:
            raise SourceError(
                f"{changed[-1]} has changed since this job began to read it. What is finished belongs to what it held "
                "then: put that back and go on with --resume, or begin anew with --overwrite"
            )

    def survey(self) -> Survey:
        """Reads the main file once: how many queries it holds, and the digest of it; after `open`.

        Raises:
            SourceError: It cannot be read or has changed meanwhile, or the rows of a query do not stand together in a run.
        """
        if self.is_pipe:
            return Survey(None, None)
        digest = hashlib.sha256()
        found = (
            read_groups_once(self._main, self._from_start(), each=digest.update)
            if self._run
            else numbered_lines(self._main, self._from_start(), each=digest.update)
        )
        count = 0
        for _ in found:
            count += 1
            if not count & 63:
                self._check()
        self.check_unchanged()
        return Survey(count, digest.hexdigest())

    def items(self, skip: Callable[[int, bytes], bool]) -> Iterator[Item | BadItem]:
        """The queries, in the source's order; after `open`.

        Args:
            skip: Whether the query at a place, from 0, with an id as it stands there, is not wanted. Of a run, which
                holds no id twice, it is left out; JSON Lines give it all the same, because their ids must be seen.

        Raises:
            SourceError: The main file cannot be read any further, or the rows of a query do not stand together in a run.
        """
        if self._run:
            queries, corpus = self._texts
            return read_run_items(self._main, queries, corpus, self._depth, skip, self._from_start())
        return read_jsonl(self._main, self._depth, self._from_start())

    def identity(self, survey: Survey) -> dict[str, Any]:
        """What of it belongs to the job's identity; after `open`."""
        main = {"name": Path(self.name).name, "sha256": survey.digest}
        facts: dict[str, Any] = {"depth": self._depth, "run" if self._run else "source": main}
        for name, texts in zip(("queries", "corpus"), self._texts, strict=False):
            facts[name] = {"name": Path(texts.path).name, "sha256": texts.digest}
        return facts

    def _from_start(self) -> BinaryIO | None:
        if self._file is not None:
            self._file.seek(0)
        return self._file

    def _check(self) -> None:
        if self._halted.is_set():
            raise HaltedError
