"""Distributions of a model's scores and columns in training, for comparison with later data: baseline.json.

A `RowSample` keeps some rows of each pass over the data, at even distances, in bounded memory. `make_baseline` scores
them with the trained model. The distribution of scores is stored as deciles, which the population stability index
compares [1]_: the sum over the deciles of (now - then) * ln(now / then), both as shares. An index below 0.1 means no
change, an index above 0.25 a large one.

.. [1] N. Siddiqi, "Credit Risk Scorecards", Wiley 2006, chapter 7.
"""

import dataclasses
import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

from fm_core.atomic_file import atomic_write
from fm_core.batch import Batch
from fm_core.errors import ConfigError
from fm_core.given import MOST_FEATURES
from fm_core.model import Model
from fm_core.printable import printable, quoted
from fm_core.small_json import object_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.formats.tables.schema import Column, TableSchema

__all__ = [
    "BASELINE_FILE",
    "MAX_BYTES",
    "MAX_COLUMNS",
    "Baseline",
    "OfColumn",
    "RowSample",
    "make_baseline",
    "stability",
]

#: Name under which a baseline lies beside its model.
BASELINE_FILE = "baseline.json"

#: Bytes of the file, its columns, its score's edges, and characters of a name.
MAX_BYTES = 2**20
MAX_COLUMNS, _MAX_EDGES, _MAX_NAME = 256, 100, 1024

_VERSION = 1
_MEMBERS = {"version", "feature_dim", "source", "rows", "scores", "columns"}

#: Parts of a sample that are kept apart: thousands of small arrays that stay keep the heap around them.
_MOST_PARTS = 32

#: Validation rows below which the training rows tell more of the scores.
_ENOUGH_ROWS = 500


@dataclasses.dataclass(frozen=True, slots=True)
class OfColumn:
    """What training had of a column.

    Attributes
    ----------
    missing, unseen : float
        Shares of its values: without one, and, of a column that has a feature for rare texts, of those.
    low, high : float or None
        Of a numeric column: the least and greatest number.
    """

    missing: float = 0.0
    unseen: float = 0.0
    low: float | None = None
    high: float | None = None


@dataclasses.dataclass(frozen=True)
class Baseline:
    """What is kept.

    Attributes
    ----------
    feature_dim : int
        Of the model.
    source : {"validation", "train"}
        Whose rows were scored.
    n_rows : int
        How many of them.
    edges : tuple of float
        They rise; the scores are counted below the first, between two, and above the last. A score that is an edge
        is below it.
    shares : tuple of float
        Of the scores, one more than edges.
    columns : mapping of str to OfColumn
        By name, where the model has a schema.
    """

    feature_dim: int
    source: str
    n_rows: int
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    columns: Mapping[str, OfColumn]

    def save(self, path: Path) -> None:
        """Write baseline.json, whole or not at all."""
        document = {
            "version": _VERSION,
            "feature_dim": self.feature_dim,
            "source": self.source,
            "rows": self.n_rows,
            "scores": {"edges": list(self.edges), "shares": list(self.shares)},
            "columns": {name: dataclasses.asdict(column) for name, column in self.columns.items()},
        }
        with atomic_write(path) as file:
            file.write(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))

    @classmethod
    def load(cls, path: Path, feature_dim: int, columns: Collection[str] | None = None) -> "Baseline":
        """Read what `save` wrote, and no more than that may be.

        docs/baseline_schema.json has the rules of one file; edges that do not rise, shares that do not add up, another
        model and other columns are refused too.

        Parameters
        ----------
        path : Path
        feature_dim : int
            The model's.
        columns : collection of str, optional
            The names that the model's schema has.

        Returns
        -------
        baseline : Baseline

        Raises
        ------
        ConfigError
            It is something else, or of another model.
        """
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        try:
            _expect(len(data) <= MAX_BYTES, f"it has more than {MAX_BYTES} bytes")
            baseline = _parsed(data)
            unknown = next((name for name in baseline.columns if columns is not None and name not in columns), None)
            _expect(unknown is None, f"column {quoted(unknown)} is not in the model's schema")
            _expect(
                baseline.feature_dim == feature_dim,
                f"feature_dim is {baseline.feature_dim}, expected the model's {feature_dim}",
            )
        except ValueError as error:
            raise ConfigError(f"{path} is not a baseline of this model: {printable(str(error), 400)}") from error
        return baseline


def _expect(holds: bool, fault: str) -> None:
    if not holds:
        raise ValueError(fault)


def _parsed(data: bytes) -> Baseline:
    document = object_of(data)
    version = document.get("version")
    _expect(type(version) is int and version == _VERSION, f"version is {quoted(version)}, expected {_VERSION}")
    _check_keys(document, _MEMBERS, "it")
    for name in ("feature_dim", "rows"):
        found = document[name]
        is_count = type(found) is int and 1 <= found <= MOST_FEATURES
        _expect(is_count, f"{name} is {quoted(found)}, expected an integer from 1 to {MOST_FEATURES}")
    source, scores, columns = document["source"], document["scores"], document["columns"]
    _expect(source in ("validation", "train"), f"source is {quoted(source)}, expected 'validation' or 'train'")
    _expect(isinstance(scores, dict), f"scores is {quoted(scores)}, expected an object")
    _check_keys(scores, {"edges", "shares"}, "scores")
    edges, shares = scores["edges"], scores["shares"]
    _expect(_are_numbers(edges) and len(edges) <= _MAX_EDGES, f"edges is {quoted(edges)}, expected a list of numbers")
    _expect(all(a < b for a, b in itertools.pairwise(edges)), "the edges of the scores do not increase")
    _expect(
        _are_numbers(shares) and len(shares) == len(edges) + 1 and all(0 <= share <= 1 for share in shares),
        f"shares is {quoted(shares)}, expected {len(edges) + 1} numbers from 0 to 1",
    )
    _expect(abs(sum(shares) - 1) < 1e-6, f"the shares of the scores add up to {sum(shares):g}, expected 1")
    _expect(isinstance(columns, dict), f"columns is {quoted(columns)}, expected an object")
    _expect(len(columns) <= MAX_COLUMNS, f"it has {len(columns)} columns, expected at most {MAX_COLUMNS}")
    of_columns = {name: _parsed_column(name, column) for name, column in columns.items()}
    return Baseline(document["feature_dim"], source, document["rows"], tuple(edges), tuple(shares), of_columns)


def _check_keys(found: dict[str, Any], members: set[str], what: str) -> None:
    _expect(found.keys() == members, f"{what} has {_names(found)}, expected {_names(members)}")


def _names(found: Iterable[str]) -> str:
    return ", ".join(printable(name, 40) for name in sorted(found)[:20]) or "nothing"


def _parsed_column(name: str, column: Any) -> OfColumn:
    members = {field.name for field in dataclasses.fields(OfColumn)}
    where = f"column {quoted(name)}"
    _expect(len(name) <= _MAX_NAME, f"{where}: expected a name of at most {_MAX_NAME} characters")
    _expect(isinstance(column, dict), f"{where} is {quoted(column)}, expected an object")
    _check_keys(column, members, where)
    for member in ("missing", "unseen"):
        share = column[member]
        _expect(_is_number(share) and 0 <= share <= 1, f"{where}: {member} is {quoted(share)}, expected 0 to 1")
    low, high = column["low"], column["high"]
    is_range = (low is None and high is None) or (_is_number(low) and _is_number(high) and low <= high)
    _expect(is_range, f"{where}: low and high are {quoted(low)} and {quoted(high)}, expected a range, or null twice")
    return OfColumn(**column)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are_numbers(values: Any) -> bool:
    return isinstance(values, list) and all(map(_is_number, values))


class RowSample:
    """Some of the rows that pass by, at even distances, whatever their number.

    Every row is kept until there are too many; then every second one of those, and so on.

    Parameters
    ----------
    most_rows, most_bytes : int
        At most so many are kept.
    """

    def __init__(self, most_rows: int = 4096, most_bytes: int = 4 * 2**20) -> None:
        self._most_rows, self._most_bytes = most_rows, most_bytes
        self._parts: list[Batch] = []
        self._n_rows = self._n_bytes = self._skip = 0
        self._stride = 1

    def add(self, batch: Batch) -> None:
        """Take rows into account.

        Parameters
        ----------
        batch : Batch
            The next rows.
        """
        if self._skip >= batch.n_rows:
            self._skip -= batch.n_rows
            return
        rows = np.arange(self._skip, batch.n_rows, self._stride, dtype=np.int64)
        self._skip = (self._skip - batch.n_rows) % self._stride
        self._keep(batch.take(rows))
        if len(self._parts) > _MOST_PARTS:
            self._parts = [Batch.concatenate(self._parts)]
        while (self._n_rows > self._most_rows or self._n_bytes > self._most_bytes) and self._n_rows > 1:
            self._halve()

    def _keep(self, part: Batch) -> None:
        self._parts.append(part)
        self._n_rows += part.n_rows
        self._n_bytes += part.nbytes

    def _halve(self) -> None:
        odd = self._n_rows % 2
        half = Batch.concatenate(self._parts).take(np.arange(0, self._n_rows, 2, dtype=np.int64))
        self._parts = []
        self._n_rows = self._n_bytes = 0
        self._keep(half)
        # Where the last one stays, what would have come next is let go.
        self._skip += 0 if odd == 0 else self._stride
        self._stride *= 2

    def __len__(self) -> int:
        return self._n_rows

    def batches(self) -> Sequence[Batch]:
        """Return the rows that are kept."""
        return self._parts


def make_baseline(
    model: Model, train: Iterable[Batch], validation: Iterable[Batch] = (), schema: "TableSchema | None" = None
) -> Baseline | None:
    """Score rows, and look at their columns.

    Parameters
    ----------
    model : Model
    train, validation : iterable of Batch
        Some rows that were learned from, and some that were not. Where there are enough of the second, theirs are the
        scores; of columns always the first are looked at.
    schema : TableSchema, optional

    Returns
    -------
    baseline : Baseline or None
        None: there is no row, or no score that is finite.
    """
    learned, held_out = (Batch.concatenate(parts) if parts else None for parts in map(list, (train, validation)))
    source = "train"
    if held_out is not None and (learned is None or held_out.n_rows >= _ENOUGH_ROWS):
        source = "validation"
    scored = held_out if source == "validation" else learned
    if scored is None:
        return None
    scores = model.predict(scored)
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return None
    # The tenths, each once. np.quantile and np.unique load numpy.ma, a tenth of a small job's time.
    scores.sort()
    tenths = scores[-(-len(scores) * np.arange(1, 10) // 10) - 1]
    edges = tenths[np.append(True, np.diff(tenths) > 0)]
    shares = np.bincount(np.searchsorted(edges, scores), minlength=len(edges) + 1) / len(scores)
    columns = {} if schema is None else _of_columns(schema, scored if learned is None else learned)
    return Baseline(
        model.feature_dim, source, len(scores), tuple(edges.tolist()), tuple(shares.tolist()), columns
    )  # fmt: skip


def _of_columns(schema: "TableSchema", rows: Batch) -> dict[str, OfColumn]:
    columns = list(zip(schema.columns, schema.offsets, strict=True))[:MAX_COLUMNS]
    if rows.indices is None:  # every column is numeric
        return {
            column.name: OfColumn(low=float(rows.values[:, first].min()), high=float(rows.values[:, first].max()))
            for column, first in columns
        }
    order = np.argsort(rows.indices, kind="stable")
    indices, values = rows.indices[order], rows.values[order]

    def found(first: int, n: int = 1) -> "NDArray[np.float32]":
        start, stop = np.searchsorted(indices, [first, first + n])
        return values[start:stop]

    return {column.name: _of_column(column, first, found, rows.n_rows) for column, first in columns}


def _of_column(column: "Column", first: int, found: "Callable[..., NDArray[np.float32]]", n_rows: int) -> OfColumn:
    if column.kind == "numeric":
        numbers = found(first)
        if len(numbers) < n_rows:  # zeros are left out
            numbers = np.append(numbers, np.float32(0))
        return OfColumn(low=float(numbers.min()), high=float(numbers.max()))
    n_values = max(1, len(found(first, column.n_features)))
    last = first + column.n_features - 1
    missing = len(found(last)) if column.gaps else 0
    unseen = len(found(last - column.gaps)) if column.unseen == "feature" else 0
    return OfColumn(missing / n_values, unseen / n_values)


def stability(shares: Sequence[float], counts: "NDArray[np.int64]") -> float:
    """Return the population stability index of counts against shares; half a row is added to each count.

    Parameters
    ----------
    shares : sequence of float
        Those of the baseline.
    counts : ndarray of int64
        As many.

    Returns
    -------
    index : float
        0 if both distributions are equal; above 0.2 is usually called a shift.
    """
    then = np.maximum(np.asarray(shares, np.float64), 1e-6)
    then /= then.sum()
    now = (counts + 0.5) / (counts.sum() + 0.5 * len(counts))
    return float(np.sum((now - then) * np.log(now / then)))
