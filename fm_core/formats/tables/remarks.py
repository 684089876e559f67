"""The lines that `fm convert` prints for each column of a new schema: an example, and anything unusual.

What is detected once, in the first part of the data, determines the model. So the owner of the data gets a line for
each column. Its remarks are known mistakes: ids taken for numbers, an index, the label among the features, texts that
stand for a missing value.
"""

import re
import unicodedata
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from fm_core.formats.tables.dates import mixes_zones
from fm_core.formats.tables.table import Table
from fm_core.formats.tables.values import MISSING, number_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.formats.tables.schema import Column

__all__ = ["MOST_ROWS", "example_of", "label_remarks", "remarks_of"]

#: Values beyond this make products of features that the usual learning rates do not bear.
_FAR = 1000.0
#: So many rows have to be there before it is odd that all are different.
_ENOUGH_ROWS = 20
#: Different texts that are compared with each other.
_MOST_TEXTS = 1_000
#: Rows that are looked at.
MOST_ROWS = 4_000


def example_of(table: Table, place: int) -> str | None:
    """Return an example of a column's cells: the first one that is not missing.

    Parameters
    ----------
    table : Table
    place : int
        The position of the column.

    Returns
    -------
    example : str or None
        At most 40 characters; None if all cells are missing.
    """
    for row in range(min(table.n_rows, MOST_ROWS)):
        if not table.is_missing(row, place):
            return table.shown(row, place).strip("'")[:40]
    return None


def remarks_of(
    table: Table, place: int, column: "Column", labels: "NDArray[np.float32] | None", *, was_guessed: bool
) -> tuple[str, ...]:
    """Say what is odd about a column that becomes features.

    Parameters
    ----------
    table : Table
        The first part of the data.
    place : int
        Of the column in it.
    column : Column
    labels : ndarray of float32, shape (n_rows,), or None
    was_guessed : bool
        Whether nobody has said of which kind it is.

    Returns
    -------
    remarks : tuple of str
    """
    if "form" in column.of_kind.needs:
        return tuple(_missing(table, place, table.codes(place)[0][:MOST_ROWS] < 0))
    if column.of_kind.has_texts:
        return tuple(_of_texts(table, place, column, labels, was_guessed))
    return tuple(_of_numbers(table, place, column, labels, was_guessed))


def label_remarks(table: Table, place: int) -> tuple[str, ...]:
    """Return remarks about unusual labels.

    Parameters
    ----------
    table : Table
        The first part of the data.
    place : int
        The position of the label's column.

    Returns
    -------
    remarks : tuple of str
    """
    numbers = table.numbers([place])[0][:, 0]
    found = []
    there = numbers[~np.isnan(numbers)]
    if len(there) and (there == there[0]).all():
        found.append(f"{there[0]:g} in every row")
    elif len(there) and len(values := np.unique(there)) == 2 and values.tolist() != [0, 1]:
        found.append(f"{values[0]:g} or {values[1]:g}: a classifier learns 0 and 1 (--threshold {values[1]:g})")
    return tuple(found)


def _missing(table: Table, place: int, is_missing: "NDArray[np.bool_]") -> list[str]:
    rows = np.flatnonzero(is_missing)
    if not len(rows):
        return []
    shown = {table.shown(row, place).strip("' ") for row in rows[:100].tolist()}
    written = sorted(shown & MISSING)[:3]
    what = f"missing, such as {', '.join(map(repr, written))}" if written else "empty"
    return [f"{len(rows)} of {len(is_missing)} cells are {what}"]


def _of_numbers(
    table: Table, place: int, column: "Column", labels: "NDArray[np.float32] | None", was_guessed: bool
) -> list[str]:
    numbers = table.numbers([place])[0][:MOST_ROWS, 0].astype(np.float64)
    is_there = ~np.isnan(numbers)
    there = numbers[is_there]
    found = _missing(table, place, ~is_there)
    if not len(there) or (there == there[0]).all():
        return [*found, "the same number in every row"] if len(there) > 1 else found
    if labels is not None and np.array_equal(numbers, labels[:MOST_ROWS]):
        found.append("equals the label: leave it out? (--ignore)")
    may_be_written = table.declared(place) != "numbers"  # 100,000 columns are looked at, too
    written = [table.shown(row, place).strip("' ") for row in range(min(table.n_rows, 50))] if may_be_written else []
    if any(text[:1] == "0" and text.isdecimal() and len(text) > 1 for text in written):
        found.append("written with zeros in front: ids? (--categorical)")
    whole = bool((there == np.round(there)).all())
    enough = len(there) >= _ENOUGH_ROWS
    n_different = len(np.unique(there))
    is_as_it_is = column.of_kind.may_be_dense  # its number is the feature's value, with nothing done to it
    dates = next((what for what, is_date in _DATES.items() if is_date(there)), None) if whole else None
    if dates and is_as_it_is:
        found.append(f"look like {dates}: as numbers they are far from 1 (--date or --categorical)")
    elif whole and enough and (np.diff(there) == 1).all():
        found.append("counts the rows: an index? (--ignore)")
    elif (
        whole
        and enough
        and was_guessed
        and is_as_it_is
        and n_different > 0.5 * len(there)
        and np.abs(there).max() > n_different
    ):
        found.append("whole numbers, nearly all different: ids? (--categorical or --hashed)")
    if is_as_it_is and not dates and np.abs(there).max() > _FAR:
        found.append(f"up to {np.abs(there).max():.3g}, far from 1: scale them, or are they ids?")
    return found


_DATES: dict[str, Callable[["NDArray[np.float64]"], bool]] = {
    "dates (year, month, day)": lambda x: bool(
        ((x >= 19000101) & (x <= 21001231)).all()
        and ((x // 100 % 100 >= 1) & (x // 100 % 100 <= 12) & (x % 100 <= 32)).all()  # as float32 rounds them
    ),
    "seconds since 1970": lambda x: bool(((x >= 5e8) & (x <= 4e9)).all()),
    "milliseconds since 1970": lambda x: bool(((x >= 5e11) & (x <= 4e12)).all()),
    "microseconds since 1970": lambda x: bool(((x >= 5e14) & (x <= 4e15)).all()),
    "nanoseconds since 1970": lambda x: bool(((x >= 5e17) & (x <= 4e18)).all()),
}


def _of_texts(
    table: Table, place: int, column: "Column", labels: "NDArray[np.float32] | None", was_guessed: bool
) -> list[str]:
    codes, texts = table.codes(place, column.separator)
    codes = codes[:MOST_ROWS]
    there = codes[codes >= 0]
    if not len(there):
        return ["empty in the first part of the data"]
    n_different = len(np.unique(there))
    enough = len(there) >= _ENOUGH_ROWS
    found = _missing(table, place, codes < 0)
    if n_different == 1 and len(there) > 1:
        found.append("the same text in every row")
    if enough and n_different == len(there):
        found.append("a different text in every row: an id of rows? (--ignore)")
    used = list(dict.fromkeys(texts[code] for code in there[:200].tolist()))
    is_number = [number_of(text) == number_of(text) for text in used]
    n_numbers = sum(is_number)
    if was_guessed and table.declared(place) is None and 0 < n_numbers < len(used) and n_numbers > 0.5 * len(used):
        other = used[is_number.index(False)]
        found.append(f"numbers but for some texts, such as {other[:20]!r}, so each number is a category")
    texts_alone = [text for text, number in zip(used, is_number, strict=True) if not number]
    written = [text for text in texts_alone if _OTHERWISE.match(_plain(text))]
    if was_guessed and written and n_numbers + len(written) > 0.5 * len(used):
        example = repr(written[0][:20])
        found.append(f"numbers written in another way, such as {example}, so each is a category: rewrite them")
    pair = _alike([texts[code] for code in np.unique(there)[:_MOST_TEXTS].tolist()])
    if pair is not None:
        first, second = (text[:20] for text in pair)
        found.append(f"differ in nothing but case, blanks or form, such as {first!r} and {second!r}: two categories")
    if any(text[:1] == "0" and text.isdecimal() and len(text) > 1 for text in used):
        found.append("numbers that begin with 0 are texts: a program that reads them as numbers makes other categories")
    if column.unseen is None and any(
        len(text) >= 10 and text[4:5] == text[7:8] == "-" and text[:4].isdecimal() for text in used[:20]
    ):
        found.append("dates: each is a category of its own")
        if mixes_zones(used):
            found.append("times with a zone, brought to UTC, beside times without one: give all of them one")
    if labels is not None and 1 < n_different < 0.5 * len(there) and _tells(codes, labels[:MOST_ROWS]):
        found.append("determines the label: leave it out? (--ignore)")
    return found


#: Of texts in their plain form: an amount of money, a percentage, groups of thousands, a comma before the fraction.
_OTHERWISE = re.compile(
    r"[+-]?(usd|eur|gbp|[$€£¥₹])?[+-]?(\d{1,3}([.,'_]\d{3})+|\d+)([.,]\d+)?(e[+-]?\d+)?(usd|eur|gbp|[$€£¥₹%‰])?$"
)


_SIGNS = {0x2212: "-", 0x2019: "'"}


def _plain(text: str) -> str:
    """Return a text without case, blanks, what cannot be seen, and the forms in which Unicode writes one character."""
    plain = unicodedata.normalize("NFKC", text).casefold().translate(_SIGNS)
    return "".join(c for c in plain if not c.isspace() and unicodedata.category(c) not in ("Cf", "Cc"))


def _alike(texts: list[str]) -> tuple[str, str] | None:
    """Find two texts that are one in their plain form."""
    seen: dict[str, str] = {}
    for text in texts:
        other = seen.setdefault(_plain(text), text)
        if other != text:
            return other, text
    return None


def _tells(codes: "NDArray[np.int64]", labels: "NDArray[np.float32]") -> bool:
    """Whether each text has one label, and the labels are not all the same."""
    first = np.zeros(codes.max() + 2, np.float32)  # the last is of missing cells
    first[codes[::-1]] = labels[::-1]
    return bool((first[codes] == labels).all() and (labels != labels[0]).any())
