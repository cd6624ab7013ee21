"""Scores by a function of the test's author, and what is said when that function is wrong."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rerank_async.server.bodies import Refusal
from rerank_async.server.lexical import LexicalScorer
from rerank_async.server.scoring import Scored, Scorer
from rerank_async.values.models import RerankModels

Score = Callable[[str, str], float]
"""Query and text to a finite number; higher is more relevant."""

Scores = Callable[[str, Sequence[str]], Iterable[float]]
"""Query and the texts of one request to as many finite numbers, in the order of the texts."""

SCORE_FUNCTION_FAILED: Final = "score_function_failed"
"""The ``errors[].code`` of the answer when the function is wrong. No service sends it, and no client retries it."""

_SHOWN = 200  # characters of a foreign exception's message


class ScoreError(Exception):
    """The score function that a test gave raised, or returned what is no score; its own exception is the cause.

    Attributes:
        index: The text's position in the request, from 0; None where it is not about one text.
    """

    def __init__(self, message: str, index: int | None = None) -> None:
        super().__init__(message)
        self.index = index


class ScoreFunction:
    """The score function in use: one text at a time, a list at a time, or the word overlap that needs none."""

    def __init__(self, score: Score | None = None, scores: Scores | None = None) -> None:
        """Takes at most one of the two.

        Raises:
            ValueError: Both are given.
            TypeError: One of them cannot be called, or is a coroutine function.
        """
        if score is not None and scores is not None:
            raise ValueError("give score (one text at a time) or scores (a list at a time), not both")
        _check(score, "score")
        _check(scores, "scores")
        self.score = score
        self.scores = scores

    def of(self, query: str, texts: Sequence[str], truncate: int | None) -> Scored:
        """Scores the texts.

        Args:
            query: The query.
            texts: The texts; a function of the author's gets them whole.
            truncate: Words that each text is cut to before words are compared; None: as it is.

        Returns:
            A score for each text, in order; tokens are words between white space, summed over the pairs.

        Raises:
            ScoreError: The function is wrong.
            OverlengthError: Words are compared, and a text has too many of them.
        """
        if self.score is None and self.scores is None:
            return LexicalScorer().score_now(query, texts, truncate)
        values = self._one_by_one(query, texts) if self.score is not None else self._at_once(query, texts)
        words = len(query.split())
        return Scored(tuple(values), sum(words + len(text.split()) for text in texts))

    def _one_by_one(self, query: str, texts: Sequence[str]) -> list[float]:
        assert self.score is not None  # noqa: S101 - asked by the caller
        name = _named(self.score, "score")
        values = []
        for index, text in enumerate(texts):
            try:
                value = self.score(query, text)
            except BaseException as exc:
                raise _raised(name, exc, f"for text {index}", index) from exc
            values.append(_number(value, name, index))
        return values

    def _at_once(self, query: str, texts: Sequence[str]) -> list[float]:
        assert self.scores is not None  # noqa: S101 - asked by the caller
        name = _named(self.scores, "scores")
        about = f"for {len(texts)} texts"
        try:
            returned: Any = self.scores(query, tuple(texts))
        except BaseException as exc:
            raise _raised(name, exc, about) from exc
        if isinstance(returned, str | bytes | Mapping) or not isinstance(returned, Iterable):
            if inspect.iscoroutine(returned):
                returned.close()
            raise ScoreError(f"{name} returned {_kind(returned)} {about}; it must return a list of numbers")
        try:
            listed = list(returned)  # a generator runs here
        except BaseException as exc:
            raise _raised(name, exc, about) from exc
        if len(listed) != len(texts):
            raise ScoreError(
                f"{name} returned {len(listed)} scores for {len(texts)} texts; it must return one for each"
            )
        return [_number(value, name, index) for index, value in enumerate(listed)]


class FunctionScorer:
    """A scorer of the local server that asks whatever function is in use, under any model id.

    Args:
        function: Gives the function in use.
        on_error: Hears each error of it.
    """

    model_id: Final = "any"
    max_sequence_length: Final = None

    def __init__(self, function: Callable[[], ScoreFunction], on_error: Callable[[ScoreError], None]) -> None:
        self._function = function
        self._on_error = on_error

    async def score(self, query: str, texts: Sequence[str], truncate: int | None) -> Scored:
        """Score; an error of the function becomes an answer that no client retries."""
        try:
            return self._function().of(query, texts, truncate)
        except ScoreError as exc:
            self._on_error(exc)
            raise Refusal(400, SCORE_FUNCTION_FAILED, str(exc)) from exc

    async def close(self) -> None:
        """Do nothing: there is nothing to give back."""


class AnyModel(Mapping[str, Scorer]):
    """One scorer under every model id, or under the given ones. Without a choice, it lists the documented ids."""

    def __init__(self, scorer: Scorer, models: Iterable[str] | None) -> None:
        self._scorer = scorer
        self._open = models is None
        self._models = tuple(str(model) for model in RerankModels) if models is None else tuple(models)

    def __getitem__(self, model_id: str) -> Scorer:
        if self._open or model_id in self._models:
            return self._scorer
        raise KeyError(model_id)

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)


def _check(function: object, name: str) -> None:
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be a function, not {_kind(function)}")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} must be a plain function, not a coroutine function (async def)")


def _named(function: Any, role: str) -> str:
    """The function as its author knows it: its role, its name, and where it stands, if that can be found."""
    name = getattr(function, "__qualname__", type(function).__qualname__)
    code = getattr(inspect.unwrap(function), "__code__", None)
    where = f" ({Path(code.co_filename).name}:{code.co_firstlineno})" if code is not None else ""
    return f"the {role} function {name}{where}"


def _raised(name: str, exc: BaseException, about: str, index: int | None = None) -> ScoreError:
    words = str(exc)[:_SHOWN]
    if exc.__traceback__ is not None and exc.__traceback__.tb_next is not None:
        exc.__traceback__ = exc.__traceback__.tb_next  # the author's frames, without ours
    return ScoreError(f"{name} raised {type(exc).__name__} {about}" + (f": {words}" if words else ""), index)


def _number(value: object, name: str, index: int) -> float:
    # numpy's scalars are registered as Real, its booleans are not.
    if inspect.iscoroutine(value):
        value.close()
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise ScoreError(f"{name} returned {_kind(value)} for text {index}; a score is a number", index)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise ScoreError(f"{name} returned {number!r} for text {index}; a score is a finite number", index)
    return number


def _kind(value: object) -> str:
    return "None" if value is None else f"a value of type {type(value).__name__}"
