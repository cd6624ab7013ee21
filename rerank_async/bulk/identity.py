"""Which job an output belongs to: ``OUT.job.json``, and what has changed since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rerank_async.bulk.errors import JobError, OutputError
from rerank_async.bulk.files import replace_file

FORMAT = 2
"""The version of the journal and of this file. In 1 the digest of the source left blank lines out."""

_WORDS = {
    "model_id": "the model",
    "params": "the parameters",
    "depth": "the depth",
    "output": "the form of the output",
    "tag": "the run's tag",
    "order": "the order of the output",
    "source": "the source",
    "run": "the run",
    "queries": "the file of queries",
    "corpus": "the corpus",
}


def write_identity(path: Path, facts: dict[str, Any], *, finished: bool) -> None:
    """Writes the file, whole or not at all.

    Raises:
        OutputError: It cannot be written.
    """
    body = {"format": FORMAT, "finished": finished, **facts}
    with replace_file(path) as file:
        # A file's name need not be UTF-8; its odd bytes are half of surrogate pairs, and come back from their escapes.
        file.write(json.dumps(body, ensure_ascii=False, indent=2).encode(errors="backslashreplace") + b"\n")


def read_identity(path: Path) -> dict[str, Any] | None:
    """The facts as they were written, with ``finished``; None: there is no such file.

    Raises:
        JobError: It is none of ours, or of another version.
    """
    try:
        body = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as exc:
        raise OutputError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise JobError(f"{path} is not what a job leaves: {exc}; --overwrite begins anew") from exc
    if not isinstance(body, dict) or body.get("format") != FORMAT:
        found = body.get("format") if isinstance(body, dict) else None
        raise JobError(
            f"{path} is of another version of the journal ({found!r}, this one is {FORMAT}); finish the job with the "
            "version that began it, or begin anew with --overwrite"
        )
    return body


def check_same(path: Path, then: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuses to go on with another job's journal.

    Raises:
        JobError: Something differs; the message says what was and what is.
    """
    for name, words in _WORDS.items():
        was: Any = then.get(name)
        is_now: Any = now.get(name)
        if was == is_now or (_is_file(was) and _is_file(is_now) and was["sha256"] == is_now["sha256"]):
            continue
        if _is_file(was) and was["sha256"] is None:
            change = f"{words} was standard input, which cannot be compared"
        elif _is_file(was) and _is_file(is_now):
            change = f"{words} has changed since the job began ({was['name']}: its SHA-256 is another)"
        else:
            verb, pronoun = ("were", "they are") if name == "params" else ("was", "it is")
            change = f"{words} {verb} {json.dumps(was, ensure_ascii=False)}, now {pronoun} {json.dumps(is_now, ensure_ascii=False)}"
        raise JobError(
            f"{path} is of another job: {change}. Undo that to go on, choose another output, or begin anew with "
            "--overwrite"
        )


def is_resumable(facts: dict[str, Any]) -> bool:
    """Whether a job can be gone on with: what it reads is no standard input, which cannot be compared."""
    return all(fact["sha256"] is not None for fact in facts.values() if _is_file(fact))


def _is_file(fact: Any) -> bool:
    return isinstance(fact, dict) and "sha256" in fact
