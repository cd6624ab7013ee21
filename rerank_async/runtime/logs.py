"""Log lines from events, and the environment's wish for them. Never texts, never secrets."""

from __future__ import annotations

import logging
import os

from rerank_async.errors import InvalidArgumentError
from rerank_async.values.events import Event

logger = logging.getLogger("rerank_async")
logger.addHandler(logging.NullHandler())

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
_handler: logging.Handler | None = None


def log_event(event: Event) -> None:
    """An observer: one DEBUG line for each event, with its numbers."""
    logger.debug("%s", event)


def wanted() -> bool:
    """Whether anybody reads DEBUG lines."""
    return logger.isEnabledFor(logging.DEBUG)


def configure_from_env() -> None:
    """Does what ``RERANK_ASYNC_LOG`` says: ``debug``, ``info``, ``warning`` or ``error`` go to standard error.

    Raises:
        InvalidArgumentError: It says something else.
    """
    global _handler  # noqa: PLW0603 - a process has one standard error
    wish = os.environ.get("RERANK_ASYNC_LOG", "").strip().lower()
    if not wish:
        return
    if wish not in _LEVELS:
        raise InvalidArgumentError(
            f"RERANK_ASYNC_LOG is {wish!r}; it may be {', '.join(_LEVELS)}", argument="RERANK_ASYNC_LOG"
        )
    if _handler is None:
        _handler = logging.StreamHandler()
        _handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
        logger.addHandler(_handler)
    logger.setLevel(_LEVELS[wish])
