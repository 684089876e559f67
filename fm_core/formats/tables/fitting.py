"""Choose features for columns from the data, unless the user's plan sets them.

The first part of the data decides what a column holds: numbers, times, texts, lists, or ids that are written as
numbers. Then one pass over all data makes a profile of each column in bounded memory: a sample of numbers at even
distances, and the frequency of each text, until there are too many to list. At the end, each profile defines its
column:

- numbers are binned, with about as many rows in each bin, or scaled if there are few rows, or fewer than all bins need;
- times become ranges of time, parts of the calendar, and moments and half hours that several rows share;
- each text is a feature, but rare ones share one, which unknown texts use too; if there are too many, they are hashed;
- a missing cell is a feature if training has some;
- a column with the same value in every row, or a different text in nearly every row, is left out, and so is a column of
  texts that says what another one says.

If rows are held out, only training rows are used, so that the held-out metrics are those of new rows.
"""

import dataclasses
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables.dates import DAY, Shared, form_of, mixes_zones, parts_worth, seconds_of
from fm_core.formats.tables.entries import Rules, numbers_and_gaps
from fm_core.formats.tables.label import LabelProfile
from fm_core.formats.tables.learner import SEPARATOR, TablePlan, find_column, said_of_columns
from fm_core.formats.tables.remarks import MOST_ROWS, example_of, label_remarks, remarks_of
from fm_core.formats.tables.sample import Sample
from fm_core.formats.tables.schema import Column, TableSchema
from fm_core.formats.tables.table import Table, no_column
from fm_core.formats.tables.twins import Twins

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["MOST_MOMENTS", "Fitted", "are_few", "bin_edges", "fit_schema"]

#: Bins of a column of numbers: at least, one for so many rows, and at most; and ranges of a date's age. Measured on
#: held-out parts of the training rows of Adult and California housing, and of parts of these: with 3,000 rows 40 bins
#: were the best, with 5,500 60, and from 10,000 on 100; scaled columns next to the bins gained nothing.
_BINS, _ROWS_OF_BIN, _MOST_BINS, _AGES = 40, 100, 100, 20
#: Rows that a bin has at least, and rows below which numbers are scaled instead.
_LEAST_IN_BIN, _FEW_ROWS = 10, 200
#: What columns hold is guessed of the first table of so many rows, or the largest of some: the first is often short.
_ROWS_TO_GUESS, _TABLES_TO_GUESS = 2_000, 8
#: Of many different numbers, the share of texts among them that is an error in the data, and no column of texts.
_FEW_TEXTS = 0.01
#: Texts that are listed, and buckets of a column that has more.
_MOST_TEXTS, _BUCKETS = 500_000, 1 << 20
#: Moments that are looked at of all columns of dates together: memory, and what schema.json may hold.
MOST_MOMENTS = 500_000
#: A number is taken for an id if there are so many different ones, and so large a share of those between them occurs.
_MANY_IDS, _DENSE_IDS = 200, 0.5
_ID_NAME = re.compile(
    r"(?:^|[\W_])(?:id|uuid|guid|key|code|zip|zipcode|postcode|sku|isbn|asin)s?$|(?<=[a-z])I[dD]s?$|^(?:user|item|movie|film"
    r"|customer|product|article|session|device)s?$",
)  # fmt: skip

_LEARNING = Rules(unseen="ignore", learns=True)

#: Marks the rows of a table that are learned from, given the number of its first row; None: all.
Chosen = Callable[[Table, int], "NDArray[np.bool_] | None"]


class Fitted(NamedTuple):
    """What was found out of the data.

    Attributes
    ----------
    schema : TableSchema
    label : LabelProfile or None
        None: the plan names no label.
    n_rows : int
        Of those that are learned from.
    """

    schema: TableSchema
    label: LabelProfile | None
    n_rows: int


class _Profile(Protocol):
    """What is known so far of one column."""

    def add(self, table: Table, place: int, rows: "NDArray[np.bool_] | None") -> None:
        """Look at a part of the data, or at those of its rows that are marked."""

    def column(self, n_rows: int, n_numbers: int) -> Column | str:
        """Say what the column becomes, or why nothing: one of so many whose numbers may be cut into bins."""


def fit_schema(
    tables: Iterable[Table], plan: TablePlan, chosen: Chosen | None = None, source: str = "the input"
) -> Fitted:
    """Choose what each column of a data set becomes.

    Parameters
    ----------
    tables : iterable of Table
        All of the data, walked once.
    plan : TablePlan
    chosen : callable, optional
        Which rows are learned from.
    source : str
        What it is called where there are no rows.

    Returns
    -------
    fitted : Fitted
        The schema, and remarks about columns.

    Raises
    ------
    ConfigError
        The plan says two things of one column.
    DataError
        There are no rows, a column of the plan is not there, a cell is not of its column's kind, or no column is useful
        as a feature; the message says which.
    """
    tables = iter(tables)
    begun: list[Table] = []
    for table in tables:
        begun.append(table)
        if table.n_rows >= _ROWS_TO_GUESS or len(begun) == _TABLES_TO_GUESS:
            break
    if not begun:
        raise DataError(f"{source} holds no rows, expected at least one")
    first = max(begun, key=lambda table: table.n_rows)
    said = said_of_columns(first, plan)
    profiles, left_out = _profiles(first, plan, said)
    label = None if plan.label is None else find_column(first, plan.label)[1]
    of_label = None if label is None else LabelProfile(plan.positive, plan.predictor_type)
    head = first.head(MOST_ROWS)
    compared = [n for n, p in profiles.items() if isinstance(p, _Texts) and p.is_plain and first.places[n] not in said]
    twins = Twins(head, compared)
    n_rows = n_chosen = 0
    for table in itertools.chain(begun, tables):
        rows = None if chosen is None else chosen(table, n_rows)
        twins.add(table, rows)
        for name, profile in profiles.items():
            profile.add(table, _place(table, name), rows)
        if of_label is not None and label is not None:
            of_label.add(table, _place(table, label))
        n_rows += table.n_rows
        n_chosen += table.n_rows if rows is None else int(rows.sum())
    numbers = None if of_label is None or label is None else of_label.numbers(head, _place(head, label))
    columns = []
    n_numbers = sum(isinstance(profile, _Numbers) for profile in profiles.values())
    for name, profile in profiles.items():
        column = profile.column(n_chosen, n_numbers)
        if isinstance(column, str):
            left_out[name] = column
            continue
        place = head.places[name]
        remarks = remarks_of(head, place, column, numbers, was_guessed=first.places[name] not in said)
        columns.append(dataclasses.replace(column, example=example_of(head, place), remarks=remarks))
    alike = twins.left_out([column.name for column in columns])
    left_out |= alike
    columns = [column for column in columns if column.name not in alike]
    if not columns and not left_out:
        raise DataError(f"{first.source}: there is no column other than the label, expected at least one to learn from")
    if not columns:
        why = "; ".join(f"{name} {why}" for name, why in list(left_out.items())[:5])
        raise DataError(f"{first.source}: no column is useful as a feature, expected at least one: {why}")
    schema = TableSchema(
        tuple(columns), label, False, plan.missing,
        () if of_label is None else of_label.classes,
        () if of_label is None or label is None or of_label.classes else label_remarks(head, _place(head, label)),
        tuple(f"{name}: {why}" for name, why in left_out.items()),
        None if plan.weight is None else find_column(first, plan.weight)[1],
    )  # fmt: skip
    return Fitted(schema, of_label, n_chosen)


def _place(table: Table, name: str) -> int:
    if name not in table.places:
        raise no_column(table, name)
    return table.places[name]


def _profiles(first: Table, plan: TablePlan, said: Mapping[int, str]) -> tuple[dict[str, _Profile], dict[str, str]]:
    """Choose how each column is looked at, by the first part of the data."""
    left_out = {first.names[place]: "as declared" for place, kind in said.items() if kind == "ignored"}
    for name, note in first.notes.items():
        if name in first.places and first.places[name] not in said:
            left_out[name] = note
    several = {find_column(first, name)[1]: separator for name, separator in plan.several.items()}
    weights = {find_column(first, name)[1]: separator for name, separator in plan.weights.items()}
    for name in weights:
        several.setdefault(name, SEPARATOR)
    buckets = {find_column(first, name)[1]: n for name, n in plan.hashed.items()}
    bins = {find_column(first, name)[1]: n for name, n in plan.bins.items()}
    profiles: dict[str, _Profile] = {}
    for place, name in enumerate(first.names):
        if name in left_out or said.get(place) in ("label", "weight"):
            continue
        kind = said.get(place) or _guessed(first, place)
        if first.is_list(place):
            several.setdefault(name, SEPARATOR)
        if kind == "numeric":
            profiles[name] = _AsIs(name)
        elif kind in _NUMBERS:
            profiles[name] = _Numbers(name, kind, bins.get(name))
        elif kind == "date":
            profiles[name] = _Moments(name, first, place)
        else:
            profiles[name] = _Texts(
                name, several.get(name), weights.get(name), buckets.get(name), plan.min_count,
                plan.most_categories or _MOST_TEXTS,
            )  # fmt: skip
    of_moments = [profile for profile in profiles.values() if isinstance(profile, _Moments)]
    for profile in of_moments if plan.moments else []:
        profile.look_for_shared(MOST_MOMENTS // len(of_moments))
    return profiles, left_out


_NUMBERS = ("numbers", "scaled", "log", "binned")


def _guessed(table: Table, place: int) -> str:
    """Detect what a column holds that the plan does not set."""
    if table.is_list(place):
        return "categorical"
    declared = table.declared(place)
    if declared == "texts":
        return "date" if _are_dates(table, place) else "categorical"
    numbers = table.numbers([place])[0][:, 0].astype(np.float64)
    there = numbers[~np.isnan(numbers)]
    if declared is None and not _are_numbers(table, place, numbers, there):
        return "date" if _are_dates(table, place) else "categorical"
    if not len(there) or (there != np.round(there)).any():
        return "numbers"
    if there.min() >= 19_000_101 and _are_dates(table, place):
        return "date"
    return "categorical" if _are_ids(table.names[place], there) else "numbers"


def _are_numbers(table: Table, place: int, numbers: "NDArray[np.float64]", there: "NDArray[np.float64]") -> bool:
    """Whether cells of text are numbers, or nearly all of them: the others are refused then, and no categories."""
    wrong = np.flatnonzero(np.isnan(numbers)).tolist()
    n_texts = sum(not table.is_missing(row, place) for row in wrong)
    if not len(there) or not n_texts:
        return bool(len(there))
    return n_texts < _FEW_TEXTS * len(there) and len(np.unique(there[:_ROWS_TO_GUESS])) > _BINS


def _are_dates(table: Table, place: int) -> bool:
    return form_of(table.head(MOST_ROWS).codes(place)[1]) is not None and form_of(table.codes(place)[1]) is not None


def _are_ids(name: str, numbers: "NDArray[np.float64]") -> bool:
    n = len(np.unique(numbers))
    if _ID_NAME.search(name):
        return True
    return n > _MANY_IDS and n / (float(np.ptp(numbers)) + 1) > _DENSE_IDS and n < 0.5 * len(numbers)


def are_few(n_rows: int, n_numbers: int) -> bool:
    """Whether rows are too few to cut columns of numbers into bins: fewer than there would be bins.

    On generated tables of 10 to 500 columns with linear and wave-shaped effects, scaled numbers were then better on
    held-out rows: if there are more bins than rows, the model overfits.

    Parameters
    ----------
    n_rows, n_numbers : int
        Rows that are learned from, and columns of numbers.

    Returns
    -------
    are_few : bool
    """
    return n_rows < max(_FEW_ROWS, _BINS * n_numbers)


class _AsIs:
    """A column that the user calls numeric: its numbers are the values."""

    def __init__(self, name: str) -> None:
        self._name = name

    def add(self, table: Table, place: int, rows: "NDArray[np.bool_] | None") -> None:
        pass

    def column(self, n_rows: int, n_numbers: int) -> Column:
        return Column(self._name, "numeric")


class _Numbers:
    def __init__(self, name: str, kind: str, bins: int | None) -> None:
        self._name, self._kind, self._bins = name, kind, bins
        self._sample, self._n_missing = Sample(), 0

    def add(self, table: Table, place: int, rows: "NDArray[np.bool_] | None") -> None:
        numbers, gaps = numbers_and_gaps(table, place)
        if rows is not None:
            numbers, gaps = numbers[rows], gaps[rows]
        self._n_missing += int(gaps.sum())
        self._sample.add(numbers[~gaps])

    def column(self, n_rows: int, n_numbers: int) -> Column | str:
        there, gaps = self._sample.numbers(), self._n_missing > 0
        low, high = float(self._sample.low), float(self._sample.high)
        if not len(there):
            return "empty"
        if low == high and not gaps:
            return f"{low:g} in every row"
        if self._kind == "numbers" and set(np.unique(there)) <= {
            0.0,
            1.0,
        }:  # a truth is one feature, absent where it is not
            return Column(self._name, "scaled", center=0.0, scale=1.0, low=0.0, high=1.0, gaps=gaps)
        is_binned = self._kind == "binned" or (self._kind == "numbers" and not are_few(n_rows, n_numbers))
        if is_binned or low == high:
            edges = bin_edges(there, self._bins or min(max(_BINS, n_rows // _ROWS_OF_BIN), _MOST_BINS))
            return Column(self._name, "binned", edges=edges, gaps=gaps, low=low, high=high)
        log = self._kind == "log" or (self._kind == "numbers" and _is_skewed(there, low))
        if log and low <= -1:
            raise DataError(
                f"column {self._name!r} goes down to {low:g}, expected more than -1 for its logarithm (--log): use "
                "--scale instead"
            )
        values = np.log1p(there) if log else there
        deviation = float(values.std()) or 1.0
        return Column(
            self._name, "scaled", center=float(values.mean()), scale=deviation, low=low, high=high, log=log, gaps=gaps
        )


def _is_skewed(numbers: "NDArray[np.float64]", low: float) -> bool:
    """Whether the upper tail is so long that the logarithm is the better scale."""
    deviation = numbers.std()
    return low >= 0 and deviation > 0 and float(np.mean(((numbers - numbers.mean()) / deviation) ** 3)) > 2


def bin_edges(numbers: "NDArray[np.float64]", n_bins: int) -> tuple[float, ...]:
    """Cut numbers into bins of about as many rows each; a value that fills one has it to itself.

    What fills a bin is measured by the rows of other values: beside gains that are mostly 0, those of 15,024 in 1 % of
    the rows. By all rows, it shared a bin with its neighbours, which cost 2 % of the cross entropy of held-out rows of
    Adult.

    Parameters
    ----------
    numbers : ndarray of float64, shape (n,)
    n_bins : int
        About as many; few different values have one each.

    Returns
    -------
    edges : tuple of float
        In the middle between values that there are.
    """
    values, counts = np.unique(numbers, return_counts=True)
    middles = (values[1:] + values[:-1]) / 2
    is_heavy = counts * n_bins > len(numbers)
    if len(values) <= n_bins and (counts >= min(_LEAST_IN_BIN, len(numbers) / (2 * n_bins))).all():
        return tuple(middles.tolist())
    while True:
        n_left = max(1, n_bins - int(is_heavy.sum()))
        wanted = max(counts[~is_heavy].sum() / n_left, min(_LEAST_IN_BIN, len(numbers) / 4))
        more = is_heavy | (counts > wanted)
        if (more == is_heavy).all():
            break
        is_heavy = more
    edges: list[float] = []
    held = 0
    for i, (heavy, count) in enumerate(zip(is_heavy.tolist(), counts.tolist(), strict=True)):
        if heavy and i and (not edges or edges[-1] < middles[i - 1]):
            edges.append(float(middles[i - 1]))
        held = 0 if heavy else held + count
        if (heavy or held >= wanted) and i < len(middles):
            edges.append(float(middles[i]))
            held = 0
    return tuple(edges)


class _Moments:
    def __init__(self, name: str, first: Table, place: int) -> None:
        self._name = name
        texts = first.codes(place)[1]
        form = form_of(texts)
        if form is None:
            said = "times with a zone and others without" if mixes_zones(texts) else "texts"
            raise DataError(
                f"{first.source}: column {name!r} holds {said} such as {(texts or [''])[0][:40]!r}, expected dates in "
                "one format (--date)"
            )
        self._form: str = form
        self._sample, self._n_missing = Sample(), 0
        self._shared = Shared(0)

    def look_for_shared(self, most: int) -> None:
        """Find moments and half hours that rows share, of at most so many different moments."""
        self._shared = Shared(most)

    def add(self, table: Table, place: int, rows: "NDArray[np.bool_] | None") -> None:
        codes, texts = table.codes(place)
        if rows is not None:
            codes = codes[rows]
        self._n_missing += int((codes < 0).sum())
        seconds = np.append(seconds_of(texts, self._form), np.nan)[codes]
        seconds = seconds[~np.isnan(seconds)]
        self._sample.add(seconds)
        self._shared.add(seconds)

    def column(self, n_rows: int, n_numbers: int) -> Column | str:
        seconds, gaps = self._sample.numbers(), self._n_missing > 0
        if not len(seconds):
            return "empty"
        if np.ptp(seconds) == 0 and not gaps:
            return "the same moment in every row"
        edges = bin_edges(seconds / DAY, min(_AGES, max(2, n_rows // 20)))
        moments, sessions = self._shared.found(len(edges) + 1) if n_rows >= _FEW_ROWS else ((), ())
        return Column(
            self._name,
            "date",
            form=self._form,
            parts=parts_worth(seconds),
            edges=edges,
            gaps=gaps,
            low=float(self._sample.low) / DAY,
            high=float(self._sample.high) / DAY,
            moments=moments,
            sessions=sessions,
        )


class _Texts:
    def __init__(
        self, name: str, separator: str | None, weights: str | None, buckets: int | None, min_count: int, most: int
    ) -> None:
        self._learned = Column(name, "categorical", separator=separator, weights=weights)
        self._buckets, self._min_count, self._most = buckets, min_count, most
        self._known = Vocabulary()
        self._counts = np.zeros(0, np.int64)
        self._n_missing = 0

    @property
    def is_plain(self) -> bool:
        """Whether a cell is one text."""
        return self._learned.separator is None

    def add(self, table: Table, place: int, rows: "NDArray[np.bool_] | None") -> None:
        column = self._learned if self._known is not None else self._as_hashed()
        found = column.of_kind.entries(table, place, column, self._known, _LEARNING)
        if rows is not None:
            found = found.without(~rows)
        missing = found.features < 0 if found.count is None else found.count == 0
        self._n_missing += int(missing.sum() if rows is None else (missing & rows).sum())
        if self._buckets is not None:
            return
        counts = np.bincount(found.features[found.features >= 0], minlength=len(self._known))
        counts[: len(self._counts)] += self._counts
        self._counts = counts
        if len(counts) > self._most:
            self._buckets, self._known, self._counts = _BUCKETS, Vocabulary(), np.zeros(0, np.int64)

    def _as_hashed(self) -> Column:
        return dataclasses.replace(self._learned, kind="hashed", buckets=self._buckets or _BUCKETS)

    def column(self, n_rows: int, n_numbers: int) -> Column | str:
        gaps = self._n_missing > 0
        if self._buckets is not None:
            return dataclasses.replace(self._as_hashed(), gaps=gaps)
        texts, counts = self._known.texts(), self._counts
        n_there = int((counts > 0).sum())
        if not n_there:
            return "empty"
        if n_there == 1 and not gaps and self._learned.weights is None:
            return f"{texts[int(np.argmax(counts))][:40]!r} in every row"
        is_kept = counts >= max(1, self._min_count)
        if not is_kept.any():
            of_zones = ", times with a zone and others without" if mixes_zones(texts[:_ROWS_TO_GUESS]) else ""
            return f"another text in every row{of_zones}"
        categories = tuple(itertools.compress(texts, is_kept.tolist()))
        unseen = "feature" if (counts[~is_kept] > 0).any() else "ignore"
        return dataclasses.replace(self._learned, categories=categories, unseen=unseen, gaps=gaps)
