"""Kinds of columns for numbers and times as features: scaled, binned, or split into parts.

Raw numbers make products for which no learning rate works, and a single feature can only express a linear effect. So a
column is scaled to mean 0 and deviation 1 or, usually, binned with about as many rows in each bin, one feature per bin,
which can express any curve. A value outside the training data has no feature of its own: a number beyond the outermost
edge belongs to the outermost bin, and a scaled number beyond the range of training is clipped to it.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables.dates import DAY, FORMS, PARTS, SESSION, part_of, seconds_of
from fm_core.formats.tables.entries import Entries, Rules, numbers_and_gaps
from fm_core.formats.tables.table import Table, where
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.formats.tables._columns import Vocabulary
    from fm_core.formats.tables.schema import Column

__all__ = ["MAX_EDGES", "Binned", "Date", "OneGroup", "Scaled", "gap_fault"]

#: Edges of a column's bins.
MAX_EDGES = 65_536
#: Seconds since 1970 that are shown as a date: the years -2300 to 9900, about.
_LAST_SHOWN = 2.5e11
#: Moments, and half hours, of a column that have a feature.
MAX_MOMENTS = 1_000_000


def gap_fault(described: Mapping[str, Any]) -> str | None:
    """Check the value of `gaps`, whether missing cells have a feature, in schema.json.

    Parameters
    ----------
    described : mapping of str to any
        The column in schema.json.

    Returns
    -------
    fault : str or None
        What is wrong, or None.
    """
    return None if type(described.get("gaps", True)) is bool else f"gaps is {quoted(described['gaps'])}, expected true"


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _edges_fault(edges: Any) -> str | None:
    if not isinstance(edges, list) or len(edges) > MAX_EDGES or not all(map(_is_number, edges)):
        return f"edges is {quoted(edges)}, expected a list of at most {MAX_EDGES} numbers"
    return None if all(a < b for a, b in itertools.pairwise(edges)) else "edges do not increase"


def _with_gaps(features: "NDArray[Any]", gaps: "NDArray[np.bool_]", gap: int) -> "NDArray[np.int32]":
    """Put the feature of a missing cell, or -1, where there are gaps."""
    return np.where(gaps, gap, features).astype(np.int32)


def _range_fault(described: Mapping[str, Any]) -> str | None:
    """Say what is wrong with the least and greatest number that there was."""
    for name in ("low", "high"):
        if not _is_number(described.get(name, 0.0)):
            return f"{name} is {quoted(described[name])}, expected a number"
    return None if described.get("low", 0.0) <= described.get("high", 0.0) else "low is above high"


def _watch(rules: Rules, column: "Column", numbers: "NDArray[np.float64]", gaps: "NDArray[np.bool_]") -> None:
    """Count numbers beyond those that there were when the schema was made."""
    if rules.watch is None:
        return
    outside = 0
    if column.low < column.high:
        outside = int(np.count_nonzero(((numbers < column.low) | (numbers > column.high)) & ~gaps))
    rules.watch.count(column.name, values=len(numbers), missing=int(np.count_nonzero(gaps)), outside=outside)


def _shown(number: float) -> str:
    return f"{number:.6g}"


class OneGroup:
    """What kinds have in common whose features are all alike."""

    def n_features(self, column: "Column") -> int:
        """Return the number of features of a column; see `Kind.n_features`."""
        raise NotImplementedError

    def groups(self, column: "Column") -> tuple[int, ...]:
        """Return one group of all features, if there are any; see `Kind.groups`."""
        n = self.n_features(column)
        return (n,) if n else ()


class Scaled(OneGroup):
    """A number, perhaps its logarithm, less its mean, by its deviation; a missing one is a feature."""

    needs: ClassVar[tuple[str, ...]] = ("center", "scale", "low", "high")
    allows: ClassVar[tuple[str, ...]] = ("log", "gaps")
    has_texts: ClassVar[bool] = False
    may_be_dense: ClassVar[bool] = False

    def n_features(self, column: "Column") -> int:
        """Return 1, plus 1 for missing cells; see `Kind.n_features`."""
        return 1 + column.gaps

    def feature_name(self, column: "Column", number: int) -> str:
        """Return the column's name; see `Kind.feature_name`."""
        return column.name if number == 0 else f"{column.name}: missing"

    def words(self, column: "Column") -> str:
        """Describe how numbers are scaled; see `Kind.words`."""
        if (column.center, column.scale, column.low, column.high) == (0, 1, 0, 1):
            return "0 or 1"
        what = "log(1 + x), " if column.log else ""
        return f"{what}mean {_shown(column.center)}, deviation {_shown(column.scale)}"

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Check the numbers of the scale; see `Kind.fault`."""
        for name in self.needs:
            if not _is_number(described[name]):
                return f"{name} is {quoted(described[name])}, expected a number"
        if not described["scale"] > 0:
            return f"scale is {described['scale']:g}, expected more than 0"
        if described["low"] > described["high"]:
            return "low is above high"
        if type(described.get("log", False)) is not bool:
            return f"log is {quoted(described['log'])}, expected true or false"
        if described.get("log") and described["low"] <= -1:
            return f"log is true and low is {described['low']:g}, expected more than -1"
        return gap_fault(described)

    def entries(self, table: Table, place: int, column: "Column", known: "Vocabulary", rules: Rules) -> Entries:
        """Return the scaled numbers that are not zero; see `Kind.entries`."""
        numbers, gaps = numbers_and_gaps(table, place)
        _watch(rules, column, numbers, gaps)
        numbers = np.clip(numbers, column.low, column.high)
        values = (((np.log1p(numbers) if column.log else numbers) - column.center) / column.scale).astype(np.float32)
        features = _with_gaps(np.where(values == 0, -1, 0), gaps, 1 if column.gaps else -1)
        return Entries(features, values=np.where(gaps, np.float32(1), values).astype(np.float32))


class Binned(OneGroup):
    """Each range between edges is a feature, with value 1: an edge is of the range above it."""

    needs: ClassVar[tuple[str, ...]] = ("edges",)
    allows: ClassVar[tuple[str, ...]] = ("gaps", "low", "high")
    has_texts: ClassVar[bool] = False
    may_be_dense: ClassVar[bool] = False

    def n_features(self, column: "Column") -> int:
        """Return the number of bins, plus 1 for missing cells; see `Kind.n_features`."""
        return len(column.edges) + 1 + column.gaps

    def feature_name(self, column: "Column", number: int) -> str:
        """Return the column and the bin's range; see `Kind.feature_name`."""
        return _range_name(column.name, column.edges, number)

    def words(self, column: "Column") -> str:
        """Return the number of bins; see `Kind.words`."""
        return f"{len(column.edges) + 1} bins"

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Check that edges are increasing numbers; see `Kind.fault`."""
        return _edges_fault(described["edges"]) or _range_fault(described) or gap_fault(described)

    def entries(self, table: Table, place: int, column: "Column", known: "Vocabulary", rules: Rules) -> Entries:
        """Return the bin of each number; see `Kind.entries`."""
        numbers, gaps = numbers_and_gaps(table, place)
        _watch(rules, column, numbers, gaps)
        found = np.searchsorted(np.array(column.edges, np.float64), numbers, side="right")
        return Entries(_with_gaps(found, gaps, len(column.edges) + 1 if column.gaps else -1))


def _range_name(name: str, edges: Sequence[float], number: int, shown: Any = _shown) -> str:
    if number > len(edges):
        return f"{name}: missing"
    if not edges:
        return f"{name}: any"
    if number == 0:
        return f"{name} < {shown(edges[0])}"
    return f"{name} >= {shown(edges[-1])}" if number == len(edges) else (
        f"{name} {shown(edges[number - 1])} to {shown(edges[number])}"
    )  # fmt: skip


class Date:
    """A range of its age is a feature of a moment, and so is each part of the calendar: month, weekday, hour.

    So are a moment and a half hour that several rows share; other moments and half hours have no feature.
    """

    needs: ClassVar[tuple[str, ...]] = ("form", "parts", "edges")
    allows: ClassVar[tuple[str, ...]] = ("gaps", "low", "high", "moments", "sessions")
    has_texts: ClassVar[bool] = True
    may_be_dense: ClassVar[bool] = False

    def n_features(self, column: "Column") -> int:
        """Return the number of ranges, parts, moments and half hours, plus 1 for gaps; see `Kind.n_features`."""
        return sum(self.groups(column))

    def groups(self, column: "Column") -> tuple[int, ...]:
        """Return one of ranges and parts, one of moments, and one of half hours; see `Kind.groups`."""
        n_common = len(column.edges) + 1 + sum(PARTS[part] for part in column.parts)
        sizes = [size for size in (n_common, len(column.moments), len(column.sessions)) if size]
        sizes[-1] += column.gaps
        return tuple(sizes)

    def feature_name(self, column: "Column", number: int) -> str:
        """Return the column and the range or part; see `Kind.feature_name`."""
        if number <= len(column.edges):
            return _range_name(column.name, column.edges, number, _day_shown)
        number -= len(column.edges) + 1
        for part in column.parts:
            if number < PARTS[part]:
                return f"{column.name}: {part} {number + (part in ('month', 'day', 'weekday'))}"
            number -= PARTS[part]
        if number < len(column.moments):
            return f"{column.name} at {_moment_shown(column.moments[number])}"
        number -= len(column.moments)
        if number < len(column.sessions):
            return f"{column.name} in the half hour from {_moment_shown(column.sessions[number] * SESSION)}"
        return f"{column.name}: missing"

    def words(self, column: "Column") -> str:
        """Describe the ranges and parts, and what rows share; see `Kind.words`."""
        found = [f"{len(column.edges) + 1} ranges of time", *column.parts]
        found += [f"{len(column.moments):,} moments that rows share"] if column.moments else []
        found += [f"{len(column.sessions):,} half hours that rows share"] if column.sessions else []
        return f"{', '.join(found)} (written as {column.form})"

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Check formats and parts; see `Kind.fault`."""
        form, parts = described["form"], described["parts"]
        if not (isinstance(form, str) and form in FORMS):
            return f"form is {quoted(form)}, expected one of {', '.join(FORMS)}"
        if not (isinstance(parts, list) and all(isinstance(part, str) and part in PARTS for part in parts)):
            return f"parts is {quoted(parts)}, expected a list of {', '.join(PARTS)}"
        if len(set(parts)) < len(parts):
            return "a part occurs twice"
        if fault := _moments_fault(described.get("moments", []), described.get("sessions", [])):
            return fault
        return _edges_fault(described["edges"]) or _range_fault(described) or gap_fault(described)

    def entries(self, table: Table, place: int, column: "Column", known: "Vocabulary", rules: Rules) -> Entries:
        """Return the features of each time; see `Kind.entries`."""
        codes, texts = table.codes(place)
        seconds = seconds_of(texts, column.form)
        if np.isnan(seconds).any():
            row = int(np.argmax(np.isin(codes, np.flatnonzero(np.isnan(seconds)))))
            raise DataError(
                f"{where(table, row, place)}: found {table.shown(row, place)}, expected a date in the format of the "
                f"others ({column.form}; --categorical takes each text as it is)"
            )
        offset = len(column.edges) + 1
        found = [np.searchsorted(np.array(column.edges, np.float64), seconds / DAY, side="right")]
        for part in column.parts:
            found.append(offset + part_of(seconds, part))
            offset += PARTS[part]
        for shared, those in zip(column.shared, (seconds, np.floor(seconds / SESSION)), strict=True):
            if len(shared):
                found.append(_places(shared, those, offset))
                offset += len(shared)
        of_text = np.stack(found, axis=1).astype(np.int32) if texts else np.zeros((1, len(found)), np.int32)
        gaps = codes < 0
        if rules.watch is not None:
            _watch(rules, column, np.append(seconds / DAY, 0.0)[codes], gaps)
        count = np.where(gaps, int(column.gaps), of_text.shape[1]).astype(np.int32)
        features = of_text[codes]
        features[gaps, 0] = offset
        is_there = (np.arange(of_text.shape[1]) < count[:, np.newaxis]) & (features >= 0)
        return Entries(features[is_there], is_there.sum(axis=1, dtype=np.int32))


def _moments_fault(moments: Any, sessions: Any) -> str | None:
    """Say what is wrong with the moments and half hours that have a feature."""
    for name, found, is_one, what in (
        ("moments", moments, _is_number, "numbers"), ("sessions", sessions, _is_half_hour, "whole numbers"),
    ):  # fmt: skip
        if not isinstance(found, list) or len(found) > MAX_MOMENTS or not all(map(is_one, found)):
            return f"{name} is {quoted(found)}, expected a list of at most {MAX_MOMENTS} {what}"
        if not all(a < b for a, b in itertools.pairwise(found)):
            return f"{name} do not increase"
    return None


def _is_half_hour(value: Any) -> bool:
    return type(value) is int and abs(value) < 2**53


def _places(known: "NDArray[np.float64]", found: "NDArray[np.float64]", offset: int) -> "NDArray[np.int64]":
    """Return the feature of each number that is known, from `offset` on, and -1 of others."""
    at = np.searchsorted(known, found)
    is_known = known[np.minimum(at, len(known) - 1)] == found
    return np.where(is_known, at + offset, -1)


def _day_shown(days: float) -> str:
    seconds = days * DAY
    return _moment_shown(round(seconds)) if abs(seconds) <= _LAST_SHOWN else f"day {days:.6g}"


def _moment_shown(seconds: float) -> str:
    """Show a moment, by ISO 8601 as far as calendars go."""
    if abs(seconds) > _LAST_SHOWN:
        return f"day {seconds / DAY:.17g}"
    whole = math.floor(seconds)
    shown = str(np.datetime64(whole, "s")).removesuffix("T00:00:00")
    if seconds == whole:
        return shown
    return f"{np.datetime64(whole, 's')}{f'{seconds - whole:.9f}'.rstrip('0').rstrip('.')[1:]}"
