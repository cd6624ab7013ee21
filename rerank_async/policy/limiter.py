"""`Limiter`: what the gate asks before it grants a permit, and what it tells of the answers."""

from __future__ import annotations

from typing import Final, Protocol

from rerank_async.policy.heard import Heard

UNPACED: Final = 1 << 30
"""What `Limiter.free` says where nothing bounds the number of permits."""


class Limiter(Protocol):
    """What the gate asks before each permit. Hand one in as ``AsyncAPIClient(limiter=)`` to share a limit in another way.

    All times are seconds on one monotonic clock, and ``now`` never goes back. A permit's life: `grant`, then `start` when
    its request starts, or `give_back`; then `answered` or `throttled`, unless no answer came. Called from one thread.
    """

    @property
    def rate(self) -> float:
        """The pace, requests a second; infinity: no pacing."""
        ...

    @property
    def ceiling(self) -> float:
        """What the pace does not exceed, requests a second; infinity: nothing is known."""
        ...

    @property
    def source(self) -> str:
        """Where the ceiling comes from: ``"option"``, ``"header"``, ``"429"`` or ``"learned"``."""
        ...

    @property
    def paused_until(self) -> float:
        """Nothing starts before; in the past, or minus infinity: there is no pause."""
        ...

    @property
    def paced(self) -> bool:
        """Whether there is a rate to keep; a pause holds in any case."""
        ...

    @property
    def limit_known(self) -> bool:
        """Whether a limit was set or heard. Until then the gate begins with few requests in flight."""
        ...

    def wait(self, now: float) -> float:
        """Seconds until the next permit may be granted; 0: now; infinity: not before one that is out has started."""
        ...

    def free(self, now: float) -> int:
        """How many permits may be granted at once now; a large number where nothing bounds it."""
        ...

    def grant(self) -> None:
        """Counts a permit that goes out."""
        ...

    def start(self, now: float) -> None:
        """Counts the start of a request whose permit was granted: a busy event loop may come to it late."""
        ...

    def give_back(self) -> None:
        """Forgets a permit that was not used."""
        ...

    def forget_granted(self) -> None:
        """Forgets the permits that were out in an event loop that is gone."""
        ...

    def ready_at(self, now: float, ahead: int) -> float:
        """When a request with ``ahead`` others before it may start, as far as can be known."""
        ...

    def answered(self, now: float, sent_at: float, heard: Heard | None) -> None:
        """Hears an answer that was not a 429 of the rate limit.

        Args:
            now: When it came.
            sent_at: When its request started.
            heard: What it says about the limit; None: nothing.
        """
        ...

    def throttled(self, now: float, sent_at: float, retry_after: float | None, heard: Heard | None) -> float:
        """Hears a 429 of the rate limit and pauses.

        Args:
            now: When it came.
            sent_at: When its request started.
            retry_after: Seconds that the service asked for, kept to the letter; None: it did not say.
            heard: What it says about the limit; None: nothing.

        Returns:
            Seconds for which nothing starts.
        """
        ...
