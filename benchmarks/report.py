"""Figures with their bounds, and the Markdown table of them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable

import attrs


@attrs.frozen(kw_only=True)
class Figure:
    """One measurement of one run.

    Attributes:
        point: Where it belongs, such as "limits 1".
        what: What was measured.
        value: The number; a ratio where times are compared. NaN: it could not be measured, and ``context`` says why.
        bound: What it must keep to; None: it is shown for comparison only.
        at_least: Whether the bound is a lower one.
        worst: Whether the worst run is held against the bound, as for counts of failures, and not the median.
        context: Seconds and the like, for the reader.
        kind: The server's kind of limit; "": it has none, or any would do.
    """

    point: str
    what: str
    value: float
    bound: float | None = None
    at_least: bool = False
    worst: bool = False
    context: str = ""
    kind: str = ""


@attrs.frozen
class Row:
    """The same measurement over all runs."""

    figures: tuple[Figure, ...]

    @property
    def met(self) -> bool | None:
        """Whether the bound is kept; None: there is none."""
        first = self.figures[0]
        if any(math.isnan(figure.value) for figure in self.figures):
            return False
        if first.bound is None:
            return None
        return self.value >= first.bound if first.at_least else self.value <= first.bound

    @property
    def value(self) -> float:
        """The median of the runs, or the worst of them."""
        values = [figure.value for figure in self.figures]
        first = self.figures[0]
        if not first.worst:
            return statistics.median(values)
        return min(values) if first.at_least else max(values)

    def line(self) -> str:
        """A line of the table."""
        first = self.figures[0]
        values = [figure.value for figure in self.figures]
        if any(math.isnan(value) for value in values):
            shown = "not measured"
            context = next(figure.context for figure in self.figures if math.isnan(figure.value))
        else:
            shown = number(self.value)
            context = next((figure.context for figure in self.figures if figure.value == self.value), first.context)
            if len(values) > 1:
                shown += f" ({number(min(values))} to {number(max(values))})"
        sign = "≥" if first.at_least else "≤"
        bound = "" if first.bound is None else f"{sign} {number(first.bound)}"
        met = {True: "yes", False: "**NO**", None: ""}[self.met]
        cells = (first.point, first.what, first.kind, shown, bound, met, context.replace("|", "/"))
        return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """Counts as they are, ratios with three digits."""
    return f"{value}" if isinstance(value, int) else f"{value:.3f}"


def rows(figures: Iterable[Figure]) -> list[Row]:
    """One row for each point, measurement and kind, in the order in which they first came, by point."""
    groups: dict[tuple[str, str, str], list[Figure]] = {}
    for figure in figures:
        groups.setdefault((figure.point, figure.what, figure.kind), []).append(figure)
    found = [Row(tuple(group)) for group in groups.values()]
    return sorted(found, key=lambda row: row.figures[0].point)


def table(figures: Iterable[Figure]) -> str:
    """The table, and under it how many bounds are kept."""
    found = rows(figures)
    lines = ["| point | what | limit | figure (range) | bound | met | beside it |", "|---|---|---|---|---|---|---|"]
    lines += [row.line() for row in found]
    judged = [row.met for row in found if row.met is not None]
    missed = judged.count(False)
    end = f"{len(judged) - missed} of {len(judged)} bounds kept"
    return "\n".join([*lines, "", f"{end}, **{missed} missed**." if missed else f"{end}."])
