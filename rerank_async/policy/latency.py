"""How long a request of a given size takes when nothing stands in its way: learned from the answers, one line a model."""

from __future__ import annotations

from collections import deque
from math import exp, isfinite, log
from typing import Final

BASE: Final = 0.02
"""Seconds: what a request takes whatever its size, until it is measured."""

PER_INPUT: Final = 0.0002
"""Seconds: what each input adds, until it is measured."""

_KEPT = 32
"""Answers remembered per class of sizes: few enough that a service which became slower or faster is believed soon."""

_LOW = 10
"""The tenth part of the answers below which the line runs: the others waited in some queue as well. Of 32 answers it is
the fourth fastest, so that one odd answer does not decide."""

_FIRST_GUESS_WEIGHT = 0.1
"""Of an answer: enough to choose a line where one size alone was seen, too little to hold against two."""

_LEAST_DETERMINANT = 1e-9

_LARGEST_CLASS = 11  # 1,024 to 2,047 inputs, beyond the service's bound


class _Class:
    """The last answers to requests of about one size, as (seconds over the first guess, inputs)."""

    __slots__ = ("_answers", "_low")

    def __init__(self) -> None:
        self._answers: deque[tuple[float, int]] = deque(maxlen=_KEPT)
        self._low: tuple[float, int] | None = None  # found when somebody asks: answers come with every request

    def add(self, sample: tuple[float, int]) -> None:
        self._answers.append(sample)
        self._low = None

    def low(self) -> tuple[float, int, int]:
        """(ratio, inputs) of a fast answer, and how many answers stand behind it."""
        if self._low is None:
            self._low = sorted(self._answers)[len(self._answers) // _LOW]
        return *self._low, len(self._answers)


class LatencyModel:
    """The line seconds = base + per_input * inputs through the fast answers.

    Sizes fall into classes (1, 2-3, 4-7, ... inputs); of the last 32 answers of a class the line looks at one near the
    fast end, so slow outliers and queues do not bend it. With answers of one size only, base and slope keep the
    proportion of the first guess, 20 ms and 0.2 ms.
    """

    __slots__ = ("_base", "_classes", "_per_input", "_stale")

    def __init__(self) -> None:
        self._classes: dict[int, _Class] = {}
        self._base = BASE
        self._per_input = PER_INPUT
        self._stale = False

    def observe(self, inputs: int, seconds: float) -> None:
        """Hears of a good answer: how many inputs it had, and seconds from sending to its last byte.

        What cannot be a time (not above 0, not finite) or has no inputs is ignored.
        """
        if inputs < 1 or not seconds > 0 or not isfinite(seconds):
            return
        number = min(inputs.bit_length(), _LARGEST_CLASS)
        kept = self._classes.get(number)
        if kept is None:
            kept = self._classes[number] = _Class()
        kept.add((seconds / (BASE + PER_INPUT * inputs), inputs))
        self._stale = True

    def predict(self, inputs: int) -> float:
        """Seconds that a request of this size takes if it meets no queue."""
        if self._stale:
            self._fit()
        return self._base + self._per_input * inputs

    @property
    def base(self) -> float:
        """Seconds that a request takes whatever its size, at least 0."""
        return self.predict(0)

    @property
    def per_input(self) -> float:
        """Seconds that each input adds, at least 0."""
        if self._stale:
            self._fit()
        return self._per_input

    def _fit(self) -> None:
        """Least squares of the relative errors over at most 11 points and, weakly, the first guess."""
        self._stale = False
        points = [kept.low() for kept in self._classes.values()]
        total = sum(count for _, _, count in points)
        scale = exp(sum(log(ratio) * count for ratio, _, count in points) / total)
        base, slope = BASE * scale, PER_INPUT * scale
        # The unknowns are the factors of base and slope; row: factor * x + factor * y = 1.
        xx = yy = x_sum = y_sum = _FIRST_GUESS_WEIGHT
        xy = 0.0
        for ratio, inputs, count in points:
            seconds = ratio * (BASE + PER_INPUT * inputs)
            x, y = base / seconds, slope * inputs / seconds
            xx += count * x * x
            xy += count * x * y
            yy += count * y * y
            x_sum += count * x
            y_sum += count * y
        determinant = xx * yy - xy * xy
        if determinant < _LEAST_DETERMINANT * xx * yy:  # times so far apart that no line means anything
            first = second = 1.0
        else:
            first, second = (x_sum * yy - y_sum * xy) / determinant, (y_sum * xx - x_sum * xy) / determinant
        if first < 0:
            first, second = 0.0, y_sum / yy
        elif second < 0:
            first, second = x_sum / xx, 0.0
        self._base, self._per_input = base * first, slope * second


class Latencies:
    """One `LatencyModel` for each model that a client asks."""

    __slots__ = ("_models",)

    def __init__(self) -> None:
        self._models: dict[str, LatencyModel] = {}

    def of(self, model_id: str) -> LatencyModel:
        """The model's line; the first guess, if it was never asked."""
        found = self._models.get(model_id)
        if found is None:
            found = self._models[model_id] = LatencyModel()
        return found
