"""The bodies of ``tests/wire``: `wire` reads one, `wire_files` names them."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "wire"


def wire(name: str) -> dict[str, Any]:
    """One file: ``source``, ``kind``, ``body``, and ``status`` and ``headers`` where they matter."""
    return json.loads((FOLDER / f"{name}.json").read_text("utf-8"))


def wire_files(kind: str) -> list[str]:
    """The names of all files of a kind, sorted."""
    return sorted(path.stem for path in FOLDER.glob("*.json") if wire(path.stem)["kind"] == kind)


def as_bytes(body: object) -> bytes:
    """A body as it travels: a string stands for itself (HTML, or nothing at all)."""
    return body.encode() if isinstance(body, str) else json.dumps(body, ensure_ascii=False).encode()


def exchange_of(name: str) -> tuple[int, dict[str, str], bytes]:
    """The three parts of a recorded answer: status, headers, bytes."""
    given = wire(name)
    return given["status"], given.get("headers", {}), as_bytes(given["body"])
