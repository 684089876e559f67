"""Text rows as a Batch: CSV (dense) and libsvm (sparse), whole bodies in memory.

For requests, which carry no labels; files of any size are fm_core/formats/tables/encoder.py's.
A blank line is no row. What is wrong with a line is looked for only once the body as a
whole has proved unreadable.
"""

import io
from itertools import chain

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.canonical import sparse_batch

__all__ = ["decode_csv", "decode_libsvm"]


def decode_csv(data: bytes, *, feature_dim: int) -> Batch:
    """Make a dense batch of lines of `feature_dim` numbers, separated by commas.

    Raises
    ------
    DataError
        A line has another number of values, or a value is no finite number; the message
        names the line, counted from 0 without blank ones.
    """
    lines = [line for line in _text(data).splitlines() if line and not line.isspace()]
    if not lines:
        return Batch.trusted(feature_dim, np.empty((0, feature_dim), np.float32))
    # Before the parser allocates rows as wide as the first line is.
    for row, line in enumerate(lines):
        if line.count(",") + 1 != feature_dim:
            raise DataError(f"line {row} has {line.count(',') + 1} values, expected feature_dim={feature_dim}")
    try:
        values = np.loadtxt(io.StringIO("\n".join(lines)), np.float32, delimiter=",", comments=None, ndmin=2)
    except ValueError:
        raise DataError(_first_bad_csv(lines)) from None
    if not np.isfinite(values).all():
        raise DataError(_first_bad_csv(lines))
    return Batch.trusted(feature_dim, values)


def decode_libsvm(data: bytes, *, feature_dim: int) -> Batch:
    """Make a sparse batch of lines ``[label] key:value key:value ...``; a label is ignored.

    Keys are feature ids as everywhere here, counted from 0; a ``#`` begins a comment.

    Raises
    ------
    DataError
        A line is not of this shape, a key is not below `feature_dim` or a value not finite;
        the message names the line, counted from 0 without blank ones.
    """
    rows = [
        pairs[1:] if pairs and ":" not in pairs[0] else pairs
        for line in _text(data).splitlines()
        if (pairs := line.partition("#")[0].split())
    ]
    parts = [pair.split(":") for pair in chain.from_iterable(rows)]
    try:
        # Lists, not arrays of text: those would make every item as wide as the widest.
        keys = np.array([int(key) for key, _ in parts], np.int64)
        with np.errstate(over="ignore"):
            values = np.array([float(value) for _, value in parts], np.float64).astype(np.float32)
    except (ValueError, OverflowError):
        raise DataError(_first_bad_libsvm(rows, feature_dim)) from None
    if not (((keys >= 0) & (keys < feature_dim)).all() and np.isfinite(values).all()):
        raise DataError(_first_bad_libsvm(rows, feature_dim))
    indptr = np.zeros(len(rows) + 1, np.int64)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    ascending = np.diff(keys) > 0
    ascending[indptr[1:-1][(indptr[1:-1] > 0) & (indptr[1:-1] < len(keys))] - 1] = True
    return sparse_batch(
        feature_dim, indptr, keys.astype(np.int32), values, ascending=bool(ascending.all()), what="line"
    )


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise DataError(f"the body is not UTF-8 text: byte {error.start} is {data[error.start]:#04x}") from None


def _first_bad_csv(lines: list[str]) -> str:
    for row, line in enumerate(lines):
        for column, item in enumerate(line.split(",")):
            if not _is_finite(item):
                return f"line {row}: value {column} is {item.strip()[:40]!r}, expected a number, finite as float32"
    return "the body is not CSV of numbers"


def _first_bad_libsvm(rows: list[list[str]], feature_dim: int) -> str:
    for row, pairs in enumerate(rows):
        for pair in pairs:
            key, colon, value = pair.partition(":")
            if not (colon and key.isdecimal() and key.isascii() and len(key) <= 10 and _is_finite(value)):
                return f"line {row}: {pair[:40]!r} is not key:value, an integer and a number that is finite as float32"
            if int(key) >= feature_dim:
                return f"line {row}: key {int(key)} is not below feature_dim={feature_dim}"
    return "the body is not libsvm text"


def _is_finite(text: str) -> bool:
    try:
        with np.errstate(over="ignore"):
            return bool(np.isfinite(np.float32(float(text))))
    except (ValueError, OverflowError):
        return False
