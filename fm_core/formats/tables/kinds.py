"""The kinds of columns: the number and names of their features, and what their cells contribute.

A kind is a class and a row of `KINDS`. No other code in this folder depends on the kind of a column, so a new kind only
needs these two, and a word in the user's plan that selects it. number_kinds.py has the kinds that convert numbers and
times to features.
"""

import itertools
import zlib
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np

from fm_core.errors import DataError
from fm_core.formats.tables._columns import Vocabulary
from fm_core.formats.tables.entries import Entries, Rules, Watch, numbers_of_columns
from fm_core.formats.tables.number_kinds import Binned, Date, OneGroup, Scaled, gap_fault
from fm_core.formats.tables.table import Table, where
from fm_core.formats.tables.values import canonical, number_of
from fm_core.given import MOST_FEATURES
from fm_core.printable import quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.formats.tables.schema import Column

__all__ = ["KINDS", "MAX_CATEGORY", "Kind"]

#: Characters of a category.
MAX_CATEGORY = 65_536


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
        """Return the number of features of a column.

        Parameters
        ----------
        column : Column

        Returns
        -------
        n : int
        """

    def groups(self, column: "Column") -> tuple[int, ...]:
        """Return how many features each group of a column's features has, of which a solver learns one prior.

        Parameters
        ----------
        column : Column

        Returns
        -------
        sizes : tuple of int
            In the order of features, without groups of none.
        """

    def feature_name(self, column: "Column", number: int) -> str:
        """Return the name of one of a column's features.

        Parameters
        ----------
        column : Column
        number : int
            From 0 within the column.

        Returns
        -------
        name : str
        """

    def words(self, column: "Column") -> str:
        """Describe in a few words how cells are encoded, in addition to the name of the kind.

        Parameters
        ----------
        column : Column

        Returns
        -------
        words : str
            May be empty.
        """

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Check the values that schema.json has for a column of this kind.

        Parameters
        ----------
        described : mapping of str to any
            The column in schema.json; it has all the keys that the kind needs.

        Returns
        -------
        fault : str or None
            What is wrong, or None.
        """

    def entries(self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> Entries:
        """Encode the cells of a table's column.

        Parameters
        ----------
        table : Table
        place : int
            The position of the column in the table.
        column : Column
            The column of the schema.
        known : Vocabulary
            The categories of the column.
        rules : Rules
            How to treat missing and unknown cells.

        Returns
        -------
        entries : Entries
        """


class Numeric(OneGroup):
    """A number is the value of the column's one feature."""

    needs: ClassVar[tuple[str, ...]] = ()
    allows: ClassVar[tuple[str, ...]] = ()
    has_texts: ClassVar[bool] = False
    may_be_dense: ClassVar[bool] = True

    def n_features(self, column: "Column") -> int:
        """Give 1."""
        return 1

    def feature_name(self, column: "Column", number: int) -> str:
        """Return the column's name."""
        return column.name

    def words(self, column: "Column") -> str:
        """Return nothing: the number is not changed."""
        return ""

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Find nothing to be wrong."""
        return None

    def entries(self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> Entries:
        """Return the numbers that are not zero."""
        found = numbers_of_columns(table, [place], rules)
        if rules.watch is not None:
            rules.watch.numbers([column.name], found)
        numbers = np.ascontiguousarray(found[:, 0])
        return Entries(-(numbers == 0).astype(np.int32), values=numbers)


class _Texts(OneGroup):
    """What kinds have in common whose cells are texts, or several with a separator between them.

    Behind the features of texts there may be one of texts that are not known, which training has learned of rare ones,
    and one of missing cells.
    """

    allows: ClassVar[tuple[str, ...]] = ("separator", "weights", "unseen", "gaps")
    has_texts: ClassVar[bool] = True
    may_be_dense: ClassVar[bool] = False

    def n_features(self, column: "Column") -> int:
        """Return the number of those of texts, and one each for unknown and missing ones where they have one."""
        return self._n_of_texts(column) + (column.unseen == "feature") + column.gaps

    def feature_name(self, column: "Column", number: int) -> str:
        """Give column=category or column#bucket, or say that it is of others."""
        n = self._n_of_texts(column)
        if number < n:
            return self._text_name(column, number)
        return f"{column.name}: {'other' if number == n and column.unseen == 'feature' else 'missing'}"

    def words(self, column: "Column") -> str:
        """Describe the features other than those of texts."""
        found = [f"several, between {column.separator!r}"] if column.separator is not None else []
        found += [f"weights behind {column.weights!r}"] if column.weights is not None else []
        found += ["rare and unseen ones together"] if column.unseen == "feature" else []
        return ", ".join(found)

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Refuse what is no rule for unknown and missing texts."""
        if described.get("unseen", "ignore") not in ("feature", "ignore"):
            return f"unseen is {quoted(described['unseen'])}, expected 'feature' or 'ignore'"
        weights = described.get("weights", ":")
        if not (isinstance(weights, str) and 0 < len(weights) <= 1024):
            return f"weights is {quoted(weights)}, expected a text that is not empty"
        if "weights" in described and described.get("separator") in (None, weights):
            return "weights needs a separator that differs from it"
        return gap_fault(described)

    def entries(self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> Entries:
        """Return the feature of each text, or those of each list of texts."""
        n = self._n_of_texts(column)
        other = n if column.unseen == "feature" else -1
        gap = n + (column.unseen == "feature") if column.gaps else -1
        if column.separator is None:
            ids = self._of_cells(table, place, column, known, rules)
            return Entries(np.where(ids >= 0, ids, np.where(ids == -1, gap, other)).astype(np.int32))
        codes, cells = table.codes(place, column.separator)
        lists = [_items(cell, column) for cell in cells]
        values = None
        if column.weights is not None:
            values = self._weights(table, place, column, codes, lists)
            lists = [[item.rpartition(column.weights)[0] for item in items] for items in lists]
        ids = self._of_texts(map(canonical, itertools.chain.from_iterable(lists)), column, known, rules)
        features = np.where(ids >= 0, ids, other)
        lists_of = np.zeros(len(cells) + 1, np.int64)
        np.cumsum([len(items) for items in lists], out=lists_of[1:])
        if rules.watch is not None:
            _watch_lists(rules.watch, column, codes, ids, lists_of)
        if (features < 0).any():
            if rules.unseen == "error" and column.unseen is None:
                _refuse_unseen(table, place, column, known, rules)
            kept = np.zeros(len(features) + 1, np.int64)
            np.cumsum(features >= 0, out=kept[1:])
            lists_of = kept[lists_of]
            values = None if values is None else values[features >= 0]
            features = features[features >= 0]
        if gap >= 0:  # what empty cells have: a list behind all others
            features, values = np.append(features, gap), None if values is None else np.append(values, np.float32(1))
        lengths = np.append(np.diff(lists_of), int(gap >= 0))
        # Each cell takes the entries of its text; an empty cell has none, or the one of missing cells.
        count = lengths[codes]
        before = np.cumsum(count) - count
        at = np.repeat(lists_of[codes] - before, count) + np.arange(int(count.sum()))
        return Entries(features[at].astype(np.int32), count.astype(np.int32), None if values is None else values[at])

    def _weights(
        self, table: Table, place: int, column: "Column", codes: "NDArray[np.int64]", lists: list[list[str]]
    ) -> "NDArray[np.float32]":
        """Return the numbers behind the ids of cells."""
        assert column.weights is not None
        found = []
        for code, items in enumerate(lists):
            for item in items:
                weight = number_of(item.rpartition(column.weights)[2])
                if not (item.rpartition(column.weights)[0] and abs(weight) < 3e38):  # of NaN too
                    row = int(np.argmax(codes == code))
                    raise DataError(
                        f"{where(table, row, place)}: found {item[:40]!r}, expected an id, {column.weights!r} and a "
                        "number"
                    )
                found.append(weight)
        return np.array(found, np.float32)

    def _n_of_texts(self, column: "Column") -> int:
        raise NotImplementedError

    def _text_name(self, column: "Column", number: int) -> str:
        raise NotImplementedError

    def _of_cells(
        self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules
    ) -> "NDArray[np.int64]":
        raise NotImplementedError

    def _of_texts(self, texts: Iterator[str], column: "Column", known: Vocabulary, rules: Rules) -> "NDArray[np.int64]":
        raise NotImplementedError


class Categorical(_Texts):
    """Each text that was seen is a feature, with value 1."""

    needs: ClassVar[tuple[str, ...]] = ("categories",)

    def _n_of_texts(self, column: "Column") -> int:
        return len(column.categories)

    def _text_name(self, column: "Column", number: int) -> str:
        return f"{column.name}={column.categories[number]}"

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Refuse texts that are empty, too long, or there twice."""
        categories = described["categories"]
        if not isinstance(categories, list):
            return f"categories is {quoted(categories)}, expected a list"
        for text in categories:
            if not (isinstance(text, str) and 0 < len(text) <= MAX_CATEGORY):
                return f"a category is {quoted(text)}, expected a text of 1 to {MAX_CATEGORY} letters"
        return "a category occurs twice" if len(set(categories)) < len(categories) else super().fault(described)

    def _of_cells(
        self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules
    ) -> "NDArray[np.int64]":
        ids = table.find(place, known, learn=rules.learns)
        if rules.watch is not None:
            gaps, unseen = np.count_nonzero(ids == -1), np.count_nonzero(ids < -1)
            rules.watch.count(column.name, values=len(ids), missing=int(gaps), unseen=int(unseen))
        if rules.unseen == "error" and column.unseen is None and (ids < -1).any():
            _refuse_unseen(table, place, column, known, rules)
        return ids

    def _of_texts(self, texts: Iterator[str], column: "Column", known: Vocabulary, rules: Rules) -> "NDArray[np.int64]":
        found: NDArray[np.int64] = known.find(texts, rules.learns)
        return found


class Hashed(_Texts):
    """CRC-32 of a text chooses one of a fixed number of features, with value 1."""

    needs: ClassVar[tuple[str, ...]] = ("buckets",)

    def _n_of_texts(self, column: "Column") -> int:
        return column.buckets

    def _text_name(self, column: "Column", number: int) -> str:
        return f"{column.name}#{number}"

    def fault(self, described: Mapping[str, Any]) -> str | None:
        """Refuse none or fewer buckets, and more than there can be features."""
        buckets = described["buckets"]
        is_one = type(buckets) is int and 1 <= buckets <= MOST_FEATURES
        if not is_one:
            return f"buckets is {quoted(buckets)}, expected an integer of at least 1"
        return super().fault(described)

    def _of_cells(
        self, table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules
    ) -> "NDArray[np.int64]":
        hashes = table.hashes(place)
        if rules.watch is not None:
            rules.watch.count(column.name, values=len(hashes), missing=int(np.count_nonzero(hashes < 0)))
        return np.where(hashes >= 0, hashes % column.buckets, -1)

    def _of_texts(self, texts: Iterator[str], column: "Column", known: Vocabulary, rules: Rules) -> "NDArray[np.int64]":
        return np.fromiter(map(zlib.crc32, map(str.encode, texts)), np.int64) % column.buckets


KINDS: Mapping[str, Kind] = {
    "numeric": Numeric(), "scaled": Scaled(), "binned": Binned(), "date": Date(), "categorical": Categorical(),
    "hashed": Hashed(),
}  # fmt: skip


def _watch_lists(
    watch: Watch, column: "Column", codes: "NDArray[np.int64]", ids: "NDArray[np.int64]", lists_of: "NDArray[np.int64]"
) -> None:
    """Count the ids of cells, and an empty cell as one that is missing."""
    n_unseen = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(ids < 0, out=n_unseen[1:])
    # One more for empty cells, whose code is -1.
    lengths = np.append(np.diff(lists_of), 0)[codes]
    unseen = np.append(np.diff(n_unseen[lists_of]), 0)[codes]
    missing = int(np.count_nonzero(lengths == 0))
    watch.count(column.name, values=int(lengths.sum()) + missing, missing=missing, unseen=int(unseen.sum()))


def _items(cell: str, column: "Column") -> list[str]:
    """Take the text of a cell of several ids apart."""
    if column.weights is None:
        return list(_ids([cell], column.separator or ""))
    return [part.strip() for part in cell.split(column.separator) if part.strip()]


def _ids(texts: Iterable[str], separator: str) -> Iterator[str]:
    return (item for text in texts for part in text.split(separator) if (item := canonical(part)))


def _refuse_unseen(table: Table, place: int, column: "Column", known: Vocabulary, rules: Rules) -> None:
    codes, texts = table.codes(place, column.separator)
    for code, text in enumerate(texts):
        items = [text] if column.separator is None else _items(text, column)
        if column.weights is not None:
            items = [canonical(item.rpartition(column.weights)[0]) for item in items]
        for item, found in zip(items, known.find(items).tolist(), strict=True):
            if found < 0:
                row = int(np.argmax(codes == code))
                raise DataError(
                    f"{where(table, row, place)}: {item[:40]!r} was not seen when the schema was made, expected "
                    f"one of its {len(known)} categories ({rules.way_out} leaves such an id out)"
                )
