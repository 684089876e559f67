"""Check a schema.json against every rule of docs/table_schema.json: it gives a document, or an error of one sentence.

A schema comes with a model, perhaps from a stranger. So its size is checked before it is read, and it is measured while
it is read: a file of brackets or texts would need thirty times its size as Python objects, and reading stops at one
text or bracket too many. Then the whole document is checked: the rules of the published JSON Schema, and rules that no
JSON Schema can express, such as repeated names or features that do not add up.
"""

import io
import os
import stat
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import orjson

from fm_core.errors import ConfigError
from fm_core.formats.tables.kinds import KINDS, MAX_CATEGORY
from fm_core.given import MOST_FEATURES
from fm_core.printable import printable, quoted

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = [
    "MAX_BYTES", "MAX_COLUMNS", "MAX_TEXTS", "VERSION", "check_readable", "checked_document", "most_bytes", "unwatched",
]  # fmt: skip

#: What is written; documents of the first version, which knew fewer kinds of columns, are read too.
VERSION = 2

#: Bytes of a schema.json: one of some millions of categories.
MAX_BYTES = 256 * 2**20
#: Of one beside a model: so many, whatever its columns, and for each feature, which is mostly a text of a few letters.
_BYTES, _BYTES_OF_FEATURE = 16 * 2**20, 4096
#: Columns, and texts: names and categories. A text takes some 100 bytes of memory beside its own.
MAX_COLUMNS, MAX_TEXTS = 131_072, 20_000_000
#: Characters of a name or a separator, and of a remark or an example.
MAX_NAME = 1_024
#: Remarks on a column, or on the label.
MAX_REMARKS = 64

#: Nesting: the document, its columns, a column, its categories.
_DEPTH = 4
#: Values that are neither texts nor lists nor objects, of the document and of each column.
_PLAIN_VALUES = 16
#: Numbers in lists: the edges of all columns.
_MAX_NUMBERS = 4_000_000
_PIECE = 1 << 20
#: Bytes that a text takes in the file: a letter is at most two escapes of six.
_LONGEST_TEXT = 12 * MAX_CATEGORY
#: Bytes of memory that a text takes as one of Python's, beside its own.
_BYTES_OF_TEXT = 100

_DOCUMENT = {"version", "feature_dim", "label", "dense", "missing", "columns"}
_REMARKS = {"label_remarks", "left_out"}
#: What a column of some kind needs or may have. A separator may be null, wherever there is none.
_OF_KINDS = sorted({member for kind in KINDS.values() for member in (*kind.needs, *kind.allows)} - {"separator"})
_COLUMN = {"name", "kind", "first_feature", "separator", "example", "remarks", *_OF_KINDS}


class _FaultError(Exception):
    """A sentence about what is wrong, without the source."""


def unwatched(n_bytes: int) -> None:
    """Do nothing: a `watch` without limits.

    Parameters
    ----------
    n_bytes : int
    """


def most_bytes(feature_dim: int | None) -> int:
    """Return the maximum size of a schema.json.

    Parameters
    ----------
    feature_dim : int or None
        The number of features of its model; None: unknown.

    Returns
    -------
    n_bytes : int
    """
    return MAX_BYTES if feature_dim is None else min(MAX_BYTES, _BYTES + _BYTES_OF_FEATURE * feature_dim)


def checked_document(
    data: bytes | BinaryIO, source: str, watch: Callable[[int], None] = unwatched, feature_dim: int | None = None
) -> dict[str, Any]:
    """Parse a schema.json and look at all of it.

    Parameters
    ----------
    data : bytes or binary file
        Of a file no more is read than a schema may have, and nothing if it has more by its size.
    source : str
        Of it, for the message.
    watch : callable
        Gets the bytes of memory that reading and parsing will take, before it takes them, and 0 for every megabyte and
        column that is looked at. It raises if they are too many, or reading takes too long.
    feature_dim : int, optional
        Of the model that it lies beside, which bounds its size.

    Returns
    -------
    document : dict
        As docs/table_schema.json describes it.

    Raises
    ------
    ConfigError
        It is something else; the message names what, and where.
    """
    file = io.BytesIO(data) if isinstance(data, bytes) else data
    try:
        return _document(file, watch, feature_dim)
    except _FaultError as fault:
        raise ConfigError(f"{source} is not a schema of `fm convert`: {fault}") from fault.__cause__


def check_readable(data: bytes, feature_dim: int) -> None:
    """Refuse to write a schema.json that nothing could read.

    Parameters
    ----------
    data : bytes
        The contents of a schema.json.
    feature_dim : int
        The number of features of its columns.

    Raises
    ------
    ConfigError
        The columns are too many, or a name or category is too long; the message says which.
    """
    try:
        _document(io.BytesIO(data), unwatched, feature_dim)
    except _FaultError as fault:
        raise ConfigError(f"no schema.json can hold these columns: {fault}") from None


def _document(file: BinaryIO, watch: Callable[[int], None], feature_dim: int | None) -> dict[str, Any]:
    text, n_keys = _measured(file, most_bytes(feature_dim), watch)
    try:
        document = orjson.loads(text)
    except ValueError as error:
        is_text = _is_utf8(text)
        raise _FaultError(
            f"it is not JSON: {printable(str(error), 200)}" if is_text else "it is not UTF-8 text"
        ) from error
    _check(document, n_keys, watch)
    return document  # type: ignore[no-any-return]


def _size(file: BinaryIO) -> int:
    """The bytes of a file that say so before they are read; 0 of a pipe."""
    if isinstance(file, io.BytesIO):
        return len(file.getbuffer())
    try:
        facts = os.fstat(file.fileno())
    except OSError:  # it is no file of the system
        return 0
    return facts.st_size if stat.S_ISREG(facts.st_mode) else 0


def _measured(file: BinaryIO, most: int, watch: Callable[[int], None]) -> tuple[bytes, int]:
    """Read a file, hold what parsing would make of it against the bounds, and count the keys of objects."""
    said = f"expected at most {most}: hash the largest columns"
    size = _size(file)
    _expect(size <= most, f"it has {size} bytes, {said}")
    watch(size)
    measure, pieces, n_bytes = _Measure(), [], 0
    while piece := file.read(_PIECE):
        watch(0)
        n_bytes += len(piece)
        _expect(n_bytes <= most, f"it has more than {most} bytes, {said}")
        measure.take(piece)
        pieces.append(piece)
    watch(2 * n_bytes + _BYTES_OF_TEXT * measure.n_values)
    return b"".join(pieces), measure.counts[":"]


class _Measure:
    """What parsing would make of JSON, found without parsing it.

    Attributes
    ----------
    counts : dict of str to int
        Of quotes, and of some marks outside of texts.
    """

    def __init__(self) -> None:
        self.counts = dict.fromkeys('{[":,', 0)
        self._inside = False
        self._escape = b""
        self._depth = self._length = self._n_plain = 0

    @property
    def n_values(self) -> int:
        """About how many texts, and values that are neither texts nor lists nor objects."""
        return self.counts['"'] // 2 + self._n_plain

    def take(self, piece: bytes) -> None:
        """Look at the next bytes.

        Raises
        ------
        _FaultError
            A schema has not so much of something.
        """
        piece, self._escape = self._escape + piece, b""
        if (len(piece) - len(piece.rstrip(b"\\"))) % 2:  # an escape is not cut in two
            piece, self._escape = piece[:-1], piece[-1:]
        if b"\\" in piece:
            piece = piece.replace(b"\\\\", b"  ").replace(b'\\"', b"  ")
        if not piece:
            return
        bytes_ = np.frombuffer(piece, np.uint8)
        quotes = bytes_ == ord('"')
        self._check_lengths(np.flatnonzero(quotes), len(bytes_))
        within = np.logical_xor.accumulate(quotes) ^ self._inside
        self._inside = bool(within[-1])
        outside = bytes_[~within & ~quotes]
        n = self.counts
        n['"'] += int(np.count_nonzero(quotes))
        for character in "{[:,":
            n[character] += int(np.count_nonzero(outside == ord(character)))
        self._check_depth(outside[np.isin(outside, np.frombuffer(b"{[]}", np.uint8))])
        _expect(n["{"] <= 1 + MAX_COLUMNS, f"it has more than {MAX_COLUMNS} columns")
        _expect(
            n["["] <= 4 + 5 * MAX_COLUMNS, f"it has more than {MAX_COLUMNS} columns"
        )  # edges, parts, moments and so on
        _expect(n['"'] <= 2 * MAX_TEXTS, f"it has more than {MAX_TEXTS} texts: hash the largest columns")
        self._n_plain = max(n[","] + n[":"] - n['"'] // 2, 0)
        _expect(
            self._n_plain <= _PLAIN_VALUES * (1 + MAX_COLUMNS) + _MAX_NUMBERS,
            "it has a list with values other than texts",
        )

    def _check_lengths(self, quotes: "NDArray[np.int64]", n_bytes: int) -> None:
        """Refuse a text that is too long, also one that is not at its end yet."""
        ends = np.concatenate([[-1 - self._length], quotes, [n_bytes]])
        lengths = np.diff(ends)[int(not self._inside) :: 2]
        longest = int(lengths.max(initial=0)) - 1
        _expect(longest <= _LONGEST_TEXT, f"it has a text of more than {_LONGEST_TEXT} bytes")
        is_open = self._inside ^ (len(quotes) % 2 == 1)
        self._length = n_bytes - 1 - int(ends[-2]) if is_open else 0

    def _check_depth(self, brackets: "NDArray[np.uint8]") -> None:
        opened = (brackets == ord("{")) | (brackets == ord("["))
        levels = self._depth + np.cumsum(np.where(opened, 1, -1), dtype=np.int64)
        _expect(levels.max(initial=0) <= _DEPTH, f"it is nested deeper than {_DEPTH}")
        self._depth = int(levels[-1]) if len(levels) else self._depth


def _expect(holds: bool, fault: str) -> None:
    if not holds:
        raise _FaultError(fault)


def _check(document: Any, n_keys: int, watch: Callable[[int], None]) -> None:
    _expect(isinstance(document, dict), "it is not a JSON object")
    version = document.get("version")
    _expect(type(version) is int and 1 <= version <= VERSION, f"version is {quoted(version)}, expected 1 to {VERSION}")
    _check_keys(document, _DOCUMENT | _REMARKS | {"label_classes", "weight"}, _DOCUMENT, "")
    for key in sorted(_REMARKS & document.keys()):
        _check_remarks(document[key], key, MAX_COLUMNS if key == "left_out" else MAX_REMARKS)
    label, dim, columns = document["label"], document["feature_dim"], document["columns"]
    _expect(label is None or _is_text(label, MAX_NAME), f"label is {quoted(label)}, expected a name or null")
    _expect(_is_integer(dim, 1), f"feature_dim is {quoted(dim)}, expected an integer from 1 to {MOST_FEATURES}")
    _expect(type(document["dense"]) is bool, f"dense is {quoted(document['dense'])}, expected true or false")
    _check_classes(document.get("label_classes", ["0", "1"]), label)
    weight = document.get("weight")
    _expect(weight is None or _is_text(weight, MAX_NAME), f"weight is {quoted(weight)}, expected a name or null")
    _expect(weight is None or weight != label, f"label and weight are both {quoted(weight)}, expected two columns")
    missing = document["missing"]
    _expect(missing in ("error", "zero"), f"missing is {quoted(missing)}, expected 'error' or 'zero'")
    _expect(isinstance(columns, list) and len(columns) > 0, f"columns is {quoted(columns)}, expected a list of some")
    names: set[str] = set()
    first = found_keys = 0
    for number, column in enumerate(columns):
        watch(0)
        first += _check_column(column, number, first)
        _expect(column["name"] not in names, f"two columns are named {quoted(column['name'])}")
        names.add(column["name"])
        found_keys += len(column)
        _expect(
            not document["dense"] or KINDS[column["kind"]].may_be_dense,
            f"dense is true, and column {quoted(column['name'])} is {column['kind']}, expected numeric",
        )
    _expect(label not in names, f"the label {quoted(label)} is among the columns")
    _expect(weight not in names, f"the weight {quoted(weight)} is among the columns")
    _expect(dim == first, f"feature_dim is {dim}, expected {first}, as many features as its columns have")
    _expect(found_keys + len(document) == n_keys, "it has a key twice in one object, expected every key once")


def _check_keys(found: dict[str, Any], allowed: set[str], needed: set[str], where: str) -> None:
    for name in found:
        _expect(name in allowed, f"{where}{quoted(name)} is not a key of a schema")
    for name in sorted(needed):
        _expect(name in found, f"{where}{name} is missing")


def _check_column(column: Any, number: int, first: int) -> int:
    """Check one column, and give how many features it has."""
    _expect(isinstance(column, dict), f"column {number} is {quoted(column)}, expected an object")
    _check_keys(column, _COLUMN, {"name", "kind"}, f"column {number}: ")
    name, kind = column["name"], column["kind"]
    _expect(_is_text(name, MAX_NAME), f"column {number}: name is {quoted(name)}, expected at most {MAX_NAME} letters")
    where = f"column {number}, {quoted(name)}: "
    _expect(isinstance(kind, str) and kind in KINDS, f"{where}kind is {quoted(kind)}, expected {', '.join(KINDS)}")
    of_kind = KINDS[kind]
    said = column.get("first_feature", first)
    _expect(type(said) is int and said == first, f"{where}first_feature is {quoted(said)}, expected {first}")
    separator = column.get("separator")
    _expect(
        separator is None or ("separator" in of_kind.allows and _is_text(separator, MAX_NAME) and separator != ""),
        f"{where}separator is {quoted(separator)}, expected a text that is not empty, of a column of ids",
    )
    for key in _OF_KINDS:
        owners = [name for name, other in KINDS.items() if key in (*other.needs, *other.allows)]
        belongs = f"{where}{key} belong to a {' or '.join(owners)} column, and only to one"
        _expect(key in column or key not in of_kind.needs, belongs)
        _expect(key not in column or kind in owners, belongs)
    fault = of_kind.fault(column)
    _expect(fault is None, f"{where}{fault}")
    example = column.get("example", "")
    _expect(_is_text(example, MAX_NAME), f"{where}example is {quoted(example)}, expected a text")
    _check_remarks(column.get("remarks", []), f"{where}remarks", MAX_REMARKS)
    as_a_column: Any = SimpleNamespace(
        **{"gaps": False, "unseen": None, "moments": (), "sessions": ()}
        | {member: column[member] for member in _OF_KINDS if member in column}
    )
    return of_kind.n_features(as_a_column)


def _check_classes(classes: Any, label: str | None) -> None:
    are_two = isinstance(classes, list) and len(classes) == 2 and all(_is_text(text, MAX_NAME) for text in classes)
    _expect(
        are_two and classes[0] != classes[1] and "" not in classes,
        f"label_classes is {quoted(classes)}, expected two different texts",
    )
    _expect(label is not None or classes == ["0", "1"], "label_classes is present, but label is missing")


def _check_remarks(remarks: Any, where: str, most: int) -> None:
    is_one = isinstance(remarks, list) and all(_is_text(remark, 2 * MAX_NAME) for remark in remarks)
    _expect(is_one and len(remarks) <= most, f"{where} is {quoted(remarks)}, expected a list of at most {most} texts")


def _is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_text(value: Any, most: int) -> bool:
    return isinstance(value, str) and len(value) <= most


def _is_integer(value: Any, least: int) -> bool:
    return type(value) is int and least <= value <= MOST_FEATURES
