"""What the words of a refusal say: whether they are about a length or a number, and which limit they name.

One code stands for many mistakes, so the words decide. Known from a live answer of the same service family alone is "Token
sequence length is longer than the specified maximum sequence length for this model (1336 > 512)." (lancedb/lancedb#1535);
for the rest, what servers of this kind usually say.
"""

from __future__ import annotations

import re
from typing import Final

from rerank_async.errors import StatusError

_READ: Final = 4096
"""Characters of a message that are looked at: what is longer repeats what was sent."""

_OVER: Final = (
    r"too (?:long|many|large)|(?:longer|more|larger|greater) than|exceed\w*|maximum|at most|limit\b|"
    r"must (?:be|have|hold|contain) (?:less|fewer) than"
)
_TOKENS_TOO_MANY = re.compile(
    rf"\b(?:tokens|token (?:count|number|length))\b.*(?:\b(?:{_OVER})|>)|\b(?:{_OVER}).*\btokens\b", re.DOTALL
)
_OTHER_TOKENS = re.compile(r"\bper (?:second|minute|hour|day|month)\b|\bquota\b|\bstop\b|\bgenerate")
_TOO_SHORT = re.compile(
    r"\bmust (?:be|have|hold|contain) (?:(?:greater|more|longer) than|at least|positive)|\bmust not be (?:empty|less)"
)
_MANY: Final = r"(?:inputs|(?:input )?(?:texts|documents|passages|items|elements|sentences|entries))"
_INPUTS_TOO_MANY = re.compile(
    rf"\btoo many {_MANY}\b|\b(?:number of|\d+) {_MANY}\b.*\b(?:{_OVER})|\bmaximum (?:allowed )?number of {_MANY}\b|"
    rf"\b(?:maximum|at most|more than|up to)(?: of)? \d+ {_MANY}\b|\bbatch size\b.*(?:\b(?:{_OVER})|>)",
    re.DOTALL,
)
_PAIR = re.compile(r"\(\s*(\d{1,9})\s*>\s*(\d{1,9})\s*\)")
_NUMBER: Final = r"(?<![\w.,])(\d{1,3}(?:,\d{3})+|\d{1,9})(?![\w.,]*\w)"
_LIMIT = re.compile(
    rf"(\b(?:less|fewer) than\b|\bthan\b|\bmax\w*|\blimit\w*|\bat most\b|\bup to\b|\bexceed\w*|\ballowed\b|>)[^\d.]{{0,40}}?{_NUMBER}"
)


def said(error: StatusError) -> str:
    """The service's own words in an error's message, without the names in them: of models, fields, paths."""
    words = error.args[0].partition(f" answered {error.status}")[2] or error.args[0]
    words = words.partition("[trace ")[0][:_READ]
    return " ".join(word for word in words.split() if not _is_name(word))


def is_about_length(message: str) -> bool:
    """Whether a message says that a text has more tokens than the model reads.

    What follows the name of ``truncate_input_tokens`` is about that parameter and no matter of a text.
    """
    lowered = message[:_READ].lower().partition("truncate_input_tokens")[0]
    if _OTHER_TOKENS.search(lowered) or _TOO_SHORT.search(lowered):
        return False
    return "sequence length" in lowered or bool(_TOKENS_TOO_MANY.search(lowered))


def is_about_count(message: str) -> bool:
    """Whether a message says that a request holds too many inputs."""
    lowered = message[:_READ].lower()
    return bool(_INPUTS_TOO_MANY.search(lowered)) and "top_n" not in lowered and not is_about_length(message)


def stated_count(error: StatusError, inputs: int) -> int | None:
    """The number of inputs that a refusal names as the most: the largest below what was sent; None: it names none."""
    below = [most for most in _limits(said(error)) if 0 < most < inputs]
    return max(below, default=None)


def stated_length(error: StatusError) -> int | None:
    """The tokens that a refusal names as the most: of "(1336 > 512)" the second; None: it names none, or several."""
    words = said(error)
    pair = _PAIR.search(words)
    if pair is not None:
        tokens, most = int(pair[1]), int(pair[2])
        return most if tokens > most > 0 else None
    named = {most for most in _limits(words) if most > 0}
    return named.pop() if len(named) == 1 else None


def _limits(words: str) -> list[int]:
    """The numbers that stand behind a word for a limit."""
    found = [(match[1], int(match[2].replace(",", ""))) for match in _LIMIT.finditer(words.lower())]
    return [number - (word.startswith(("less", "fewer"))) for word, number in found]


def _is_name(word: str) -> bool:
    return ("/" in word or "-" in word) and any(map(str.isalpha, word))
