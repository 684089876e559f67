"""The kinds of columns: how many features a column of each has, what they are called, and what its cells give them.

A kind is a class and a row of `KINDS`. Nothing else in this folder asks which kind a column is: a new one needs no more
than these, but for the word of the user's plan that asks for it.
"""

import dataclasses
import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables.table import Table, where
from fm_core.formats.tables.values import canonical
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.formats.tables.schema import Column

__all__ = ["KINDS", "MAX_FEATURES", "Entries", "Kind", "Rules", "numbers_of_columns"]

#: Feature ids are int32.
MAX_FEATURES = 2**31 - 1
#: Characters of a category.
MAX_CATEGORY = 65_536


@dataclasses.dataclass(frozen=True, slots=True)
class Entries:
    """What one column gives to the rows of a table.

    Attributes
    ----------
    features : ndarray of int32
        Of the entries, counted within the column.
    count : ndarray of int32, shape (n_rows,), or None
        How many entries each row has. None: there is one feature for each row, -1 for no entry.
    values : ndarray of float32, or None
        As many as features; None: 1 each.
    """

    features: "NDArray[np.int32]"
    count: "NDArray[np.int32] | None" = None
    values: "NDArray[np.float32] | None" = None


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """What becomes of cells that do not fit.

    Attributes
    ----------
    missing : {"error", "zero"}
        What a missing cell of a column of numbers is.
    unseen : {"error", "ignore"}
        What a category that the schema does not have is.
    way_out : str
        What lets categories be unseen, for the message.
    learns : bool
        Whether categories that are not known are learned.
    """

    missing: str = "error"
    unseen: str = "error"
    way_out: str = "--unseen ignore"
    learns: bool = False


class Kind(Protocol):
    """A kind of columns."""

    #: What schema.json has to have of a column, beside its name and kind, and what it may have.
    needs: ClassVar[tuple[str, ...]]
    allows: ClassVar[tuple[str, ...]]
    #: Whether cells are texts, of which a table finds the ids; else they are numbers.
    has_texts: ClassVar[bool]
    #: Whether rows may be dense: one feature for a column, whatever the row.
    may_be_dense: ClassVar[bool]

    def n_features(self, column: "Column") -> int:
        """How many features a column has."""

    def feature_name(self, column: "Column", number: int) -> str:
        """Give the name of one of a column's features, counted from 0."""

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Say what is wrong with what schema.json has of a column, where it has what is needed."""

    def entries(self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> Entries:
        """Give what the cells of a table's column give to the rows."""


class Numeric:
    """A number is the value of the column's one feature."""

    needs: ClassVar[tuple[str, ...]] = ()
    allows: ClassVar[tuple[str, ...]] = ()
    has_texts: ClassVar[bool] = False
    may_be_dense: ClassVar[bool] = True

    def n_features(self, column: "Column") -> int:
        """Give 1."""
        return 1

    def feature_name(self, column: "Column", number: int) -> str:
        """Give the column's name."""
        return column.name

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Find nothing to be wrong."""
        return None

    def entries(self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> Entries:
        """Give the numbers that are not zero."""
        numbers = np.ascontiguousarray(numbers_of_columns(table, [place], rules)[:, 0])
        return Entries(-(numbers == 0).astype(np.int32), values=numbers)


class _Texts:
    """What kinds have in common whose cells are texts, or several with a separator between them."""

    allows: ClassVar[tuple[str, ...]] = ("separator",)
    has_texts: ClassVar[bool] = True
    may_be_dense: ClassVar[bool] = False

    def entries(self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> Entries:
        """Give the feature of each text, or those of each list of texts."""
        if column.separator is None:
            return Entries(self._of_cells(table, place, column, known, rules).astype(np.int32))
        codes, cells = table.codes(place, column.separator)
        lists = [list(_ids([cell], column.separator)) for cell in cells]
        features = self._of_texts(itertools.chain.from_iterable(lists), column, known, rules)
        lists_of = np.zeros(len(cells) + 1, np.int64)
        np.cumsum([len(items) for items in lists], out=lists_of[1:])
        if (features < 0).any():
            if rules.unseen == "error":
                _refuse_unseen(table, place, column, known, rules)
            kept = np.zeros(len(features) + 1, np.int64)
            np.cumsum(features >= 0, out=kept[1:])
            lists_of = kept[lists_of]
            features = features[features >= 0]
        # Each cell takes the entries of its text; an empty cell has none.
        lengths = np.append(np.diff(lists_of), 0)
        count = lengths[codes]
        before = np.cumsum(count) - count
        at = np.repeat(lists_of[codes] - before, count) + np.arange(int(count.sum()))
        return Entries(features[at].astype(np.int32), count.astype(np.int32))

    def _of_cells(
        self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules
    ) -> "NDArray[np.int64]":
        raise NotImplementedError

    def _of_texts(self, texts: Iterator[str], column: "Column", known: Vocabulary, rules: Rules) -> "NDArray[np.int64]":
        raise NotImplementedError


class Categorical(_Texts):
    """Each text that was seen is a feature, with value 1."""

    needs: ClassVar[tuple[str, ...]] = ("categories",)

    def n_features(self, column: "Column") -> int:
        """Give the number of categories."""
        return len(column.categories)

    def feature_name(self, column: "Column", number: int) -> str:
        """Give column=category."""
        return f"{column.name}={column.categories[number]}"

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Refuse texts that are empty, too long, or there twice."""
        categories = described["categories"]
        if not isinstance(categories, list):
            return f"categories is {quoted(categories)}, expected a list"
        for text in categories:
            if not (isinstance(text, str) and 0 < len(text) <= MAX_CATEGORY):
                return f"a category is {quoted(text)}, expected a text of 1 to {MAX_CATEGORY} letters"
        return "a category is there twice" if len(set(categories)) < len(categories) else None

    def _of_cells(
        self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules
    ) -> "NDArray[np.int64]":
        ids = table.find(place, known, learn=rules.learns)
        if rules.unseen == "error" and (ids < -1).any():
            _refuse_unseen(table, place, column, known, rules)
        return ids

    def _of_texts(self, texts: Iterator[str], column: "Column", known: Vocabulary, rules: Rules) -> "NDArray[np.int64]":
        found: NDArray[np.int64] = known.find(texts, rules.learns)
        return found


class Hashed(_Texts):
    """CRC-32 of a text chooses one of a fixed number of features, with value 1."""

    needs: ClassVar[tuple[str, ...]] = ("buckets",)

    def n_features(self, column: "Column") -> int:
        """Give the number of buckets."""
        return column.buckets

    def feature_name(self, column: "Column", number: int) -> str:
        """Give column#bucket."""
        return f"{column.name}#{number}"

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Refuse none or fewer buckets, and more than there can be features."""
        buckets = described["buckets"]
        is_one = type(buckets) is int and 1 <= buckets <= MAX_FEATURES
        return None if is_one else f"buckets is {quoted(buckets)}, expected an integer of at least 1"

    def _of_cells(
        self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules
    ) -> "NDArray[np.int64]":
        hashes = table.hashes(place)
        return np.where(hashes >= 0, hashes % column.buckets, -1)

    def _of_texts(self, texts: Iterator[str], column: "Column", known: Vocabulary, rules: Rules) -> "NDArray[np.int64]":
        return np.fromiter(map(zlib.crc32, map(str.encode, texts)), np.int64) % column.buckets


KINDS: Mapping[str, Kind] = {"numeric": Numeric(), "categorical": Categorical(), "hashed": Hashed()}


def numbers_of_columns(table: Table, columns: list[int], rules: Rules) -> "NDArray[np.float32]":
    """Give columns as numbers, all of them finite.

    Raises
    ------
    DataError
        A cell is none; the message names it.
    """
    numbers, n_wrong = table.numbers(columns)
    if n_wrong:
        for row, i in np.argwhere(np.isnan(numbers)).tolist():
            column = columns[i]
            if not table.is_missing(row, column):
                raise DataError(
                    f"{where(table, row, column)}: found {table.shown(row, column)}, expected a number that is "
                    "finite as float32 (texts need --categorical or --hashed)"
                )
            if rules.missing != "zero":
                raise DataError(
                    f"{where(table, row, column)}: {_nothing(table, row, column)}, expected a number "
                    "(a schema made with --missing zero takes it as 0)"
                )
            numbers[row, i] = 0
    return numbers


def _nothing(table: Table, row: int, column: int) -> str:
    shown = table.shown(row, column)
    is_empty = shown in ("None", "nan", "''", "b''", "<NA>", "NaT") or not shown.strip("' ")
    return "the cell is empty" if is_empty else f"the cell is {shown}, which stands for a missing value"


def _ids(texts: Iterable[str], separator: str) -> Iterator[str]:
    return (item for text in texts for part in text.split(separator) if (item := canonical(part)))


def _refuse_unseen(table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> None:
    codes, texts = table.codes(place, column.separator)
    for code, text in enumerate(texts):
        items = [text] if column.separator is None else list(_ids([text], column.separator))
        for item, found in zip(items, known.find(items).tolist(), strict=True):
            if found < 0:
                row = int(np.argmax(codes == code))
                raise DataError(
                    f"{where(table, row, place)}: {item[:40]!r} was not seen when the schema was made, expected "
                    f"one of its {len(known)} categories ({rules.way_out} leaves such an id out)"
                )
