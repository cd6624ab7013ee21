"""What is to be sent, and how much of it rides on one permit."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from math import inf
from typing import Any, NamedTuple

from rerank_async.errors import InvalidArgumentError, InvalidTypeError
from rerank_async.policy.json_codec import codec, json_size
from rerank_async.values.checks import check_encodable
from rerank_async.values.made import made
from rerank_async.values.options import BatchOptions

# One control character becomes six bytes of JSON (\u0001); every other character takes at most four of UTF-8.
MOST_BYTES_PER_CHARACTER = 6
# {"text":"..."} and the comma behind it, without the text.
_WRAPPING_BYTES = 12
# Behind the head come at most `"inputs":[]`, and with their wrapping a top_n and a truncate_input_tokens.
_TAIL_BYTES = 120
# A head has no more beside its fields, a top_n included.
_FRAME_BYTES = 2048
_STR = frozenset({str})
_LENGTH, _IS_ASCII = str.__len__, str.isascii  # of nothing but a str


def texts_of(inputs: Iterable[str | Mapping[str, Any]]) -> list[str]:
    """The texts of ``inputs``, in order.

    Raises:
        InvalidTypeError: ``inputs`` is a bare string, bytes, a dict or not iterable; or an item is neither a str nor
            ``{"text": str}``: the error names its index.
        InvalidArgumentError: A text holds a lone surrogate, or a dict has other keys than ``text``.
    """
    # A list of str without anything that UTF-8 cannot carry is checked as a whole, as most lists pass.
    if type(inputs) is list and _STR.issuperset(map(type, inputs)) and all(map(_IS_ASCII, inputs)):
        return inputs.copy()
    if isinstance(inputs, str | bytes | bytearray | Mapping):
        raise InvalidTypeError(
            f"inputs must be a list of str or {{'text': str}}, not a single {type(inputs).__name__}; "
            "put it in a list: inputs=[...]",
            argument="inputs",
        )
    if not isinstance(inputs, Iterable):
        raise InvalidTypeError(
            f"inputs must be an iterable of str or {{'text': str}}, not {type(inputs).__name__}", argument="inputs"
        )
    texts = []
    for index, item in enumerate(inputs):
        text = item if type(item) is str else _text_of(item, index)
        if not text.isascii():
            check_encodable(text, "inputs", index)
        texts.append(text)
    return texts


def _text_of(item: object, index: int) -> str:
    where = f"inputs[{index}]"
    if isinstance(item, str):
        return str.__str__(item)
    if not isinstance(item, Mapping):
        raise InvalidTypeError(
            f"{where} must be a str or {{'text': str}}, not {type(item).__name__}", argument="inputs", index=index
        )
    others = [key for key in item if key != "text"]
    if others:
        raise InvalidArgumentError(
            f"{where} has the key {others[0]!r}; only 'text' is sent, so keep the rest on your side",
            argument="inputs",
            index=index,
        )
    text = item.get("text")
    if not isinstance(text, str):
        raise InvalidTypeError(
            f"{where}['text'] must be a str, not {type(text).__name__}", argument="inputs", index=index
        )
    return str.__str__(text)


def check_query(query: object) -> str:
    """The query, if it is a str that can be sent.

    Raises:
        InvalidTypeError: Not a str.
        InvalidArgumentError: Empty, only white space, or with a lone surrogate.
    """
    if not isinstance(query, str):
        raise InvalidTypeError(f"query must be a str, not {type(query).__name__}", argument="query")
    if not query or query.isspace():
        raise InvalidArgumentError("query is empty", argument="query")
    if not query.isascii():
        check_encodable(query, "query", None)
    return str.__str__(query)


class Load(NamedTuple):
    """The texts of one call as they will be sent, and the bounds of one request.

    Attributes:
        texts: What is sent, in the caller's order.
        positions: For each of ``texts``, the indices in the caller's list that it stands for, ascending; None if the
            two lists are the same.
        sizes: For each of ``texts``, its bytes inside the body; None if bytes cannot be what bounds a request.
        inputs: How many texts the caller gave.
        max_inputs: Texts in one request, at most.
        room: Bytes in one request for its texts, at most.
    """

    texts: Sequence[str]
    positions: Sequence[Sequence[int]] | None
    sizes: Sequence[int] | None
    inputs: int
    max_inputs: int
    room: int


def load(
    texts: list[str], options: BatchOptions, head: Mapping[str, Any], *, dedupe: bool, head_bytes: float | None = None
) -> Load:
    """Drops repetitions and measures what is left.

    Args:
        texts: The caller's texts, in order.
        options: The bounds of one request.
        head: The body without its inputs.
        dedupe: Whether identical texts are sent once.
        head_bytes: From `most_bytes`, if it is known.

    Raises:
        InvalidArgumentError: A text alone, or the query, is over ``max_bytes``; the error names it.
    """
    unique: list[str] = texts
    positions: list[list[int]] | None = None
    if dedupe and len(set(texts)) < len(texts):
        groups: dict[str, list[int]] = {}
        for index, text in enumerate(texts):
            groups.setdefault(text, []).append(index)
        unique, positions = list(groups), list(groups.values())
    if head_bytes is None:
        head_bytes = most_bytes(head)
    if fits_surely(unique, options.max_inputs, head_bytes, options.max_bytes):
        return made(Load, (unique, positions, None, len(texts), options.max_inputs, options.max_bytes))
    room = room_in(options.max_bytes, head)
    if room <= 0:
        raise InvalidArgumentError(
            f"a request without any text needs up to {options.max_bytes - room} bytes, {json_size(str(head['query']))} of "
            f"them for the query: no text fits into BatchOptions.max_bytes = {options.max_bytes}",
            argument="query",
        )
    sizes = sizes_of(unique)
    for number, size in enumerate(sizes):
        if size > room:
            index = positions[number][0] if positions is not None else number
            raise InvalidArgumentError(
                f"inputs[{index}] needs a request of up to {options.max_bytes - room + size} bytes, over "
                f"BatchOptions.max_bytes = {options.max_bytes}; split the text, or raise max_bytes",
                argument="inputs",
                index=index,
            )
    return Load(unique, positions, sizes, len(texts), options.max_inputs, room)


def fits_surely(texts: Sequence[str], max_inputs: int, head_bytes: float, max_bytes: int) -> bool:
    """Whether a quick upper bound of the bytes of one request with any ``max_inputs`` of the texts is within ``max_bytes``.

    Args:
        texts: All that there are.
        max_inputs: Texts in one request, at most.
        head_bytes: From `most_bytes`.
        max_bytes: Bytes in one request, at most.
    """
    room = max_bytes - head_bytes - min(len(texts), max_inputs) * _WRAPPING_BYTES
    if sum(map(len, texts)) * MOST_BYTES_PER_CHARACTER <= room:
        return True
    if len(texts) <= max_inputs:
        return False
    longest = sorted(map(len, texts), reverse=True)[:max_inputs]
    return sum(longest) * MOST_BYTES_PER_CHARACTER <= room


def room_in(max_bytes: int, head: Mapping[str, Any]) -> int:
    """The bytes that a request of ``max_bytes`` has for its texts; less than 1: none."""
    return max_bytes - len(codec().dumps(head)) - _TAIL_BYTES


def sizes_of(texts: Sequence[str]) -> list[int]:
    """For each text its bytes inside a body, the comma behind it included."""
    return [json_size(text) - 2 + _WRAPPING_BYTES for text in texts]


def most_bytes(head: Mapping[str, Any]) -> float:
    """A quick upper bound of a head's bytes; infinity: it has fields that must be measured."""
    try:
        characters = sum(map(_LENGTH, head)) + sum(map(_LENGTH, head.values()))
    except TypeError:  # not only texts
        return inf
    return _FRAME_BYTES + _WRAPPING_BYTES * len(head) + MOST_BYTES_PER_CHARACTER * characters


def take(load: Load, start: int, most: int | None = None) -> int:
    """Where the batch that begins at ``start`` ends: more than ``start`` while something is left.

    Args:
        load: The call's texts and bounds.
        start: The batch's first text.
        most: Texts in it, at most, if that is fewer than the load's own bound; at least 1.
    """
    stop = min(start + (load.max_inputs if most is None else min(most, load.max_inputs)), len(load.texts))
    if load.sizes is None:
        return stop
    total = 0
    for index in range(start, stop):
        total += load.sizes[index]
        if total > load.room and index > start:
            return index
    return stop


def batches(load: Load) -> Iterator[tuple[int, int]]:
    """The (start, stop) of each batch, if each succeeds at once."""
    start = 0
    while start < len(load.texts):
        stop = take(load, start)
        yield start, stop
        start = stop


def requests_needed(load: Load) -> int:
    """How many batches `take` makes of the whole load."""
    if load.sizes is None:
        return -(-len(load.texts) // load.max_inputs)
    return sum(1 for _ in batches(load))


def pushed_top_n(top_n: int | None, batch_size: int) -> int | None:
    """The ``top_n`` that a batch of this size carries to the service; None: it asks for all scores.

    The service's behaviour for 1 and for more than there are inputs is not documented, so 1 is asked for as 2, and a
    number that would cut nothing off is not sent (docs/decisions.md, 2).
    """
    if top_n is None:
        return None
    asked = max(top_n, 2)
    return asked if asked < batch_size else None
