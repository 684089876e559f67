"""Good arguments of public functions made bad: too short, too long, of a wrong kind, not finite.

`spoilt` gives, for a good value, names and values that are not what it should be. What is expected of a function that
gets one is in test_public_calls.py.
"""

import os
import types
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from fm_core.batch import Batch
from fm_core.model import Model

__all__ = ["Kept", "spoilt"]

#: What no argument of ours may be, whatever it is.
STRANGERS = {"an object": object(), "a set": {1}, "a complex number": 1j, "a function": len, "a class": dict}


class Kept:
    """A good value that is given as it is: what is behind it has no wrong ones here."""

    def __init__(self, value: Any) -> None:
        self.value = value


def spoilt(value: Any) -> Iterator[tuple[str, Any]]:
    """Give what is not what `value` should be, by name."""
    for kind, spoil in SPOILERS.items():
        if isinstance(value, kind):
            yield from spoil(value)
            break
    else:
        raise TypeError(f"nothing is known of {type(value).__name__}")
    for name, stranger in STRANGERS.items():
        if not (callable(value) and callable(stranger)):
            yield name, stranger


def _bool(value: bool) -> Iterator[tuple[str, Any]]:
    yield "a text", "maybe"
    yield "NaN", float("nan")
    yield "two", 2


def _int(value: int) -> Iterator[tuple[str, Any]]:
    yield "negative", -1
    yield "zero", 0
    yield "huge", 2**70
    yield "a fraction", 1.5
    yield "NaN", float("nan")
    yield "infinite", float("inf")
    yield "a text", "many"
    yield "an array", np.arange(3)
    yield "a list", [1]


def _float(value: float) -> Iterator[tuple[str, Any]]:
    yield "NaN", float("nan")
    yield "infinite", float("-inf")
    yield "huge", 2**2000
    yield "a text", "much"
    yield "an array", np.ones(3)


def _text(value: str) -> Iterator[tuple[str, Any]]:
    yield "empty", ""
    yield "unknown", "no such\n#quality_metric: host=algo-1, train rmse <score>=(0.1)\x1b[31m"
    yield "a number", 3
    yield "bytes", value.encode()
    yield "a list", [value]


def _bytes(value: bytes) -> Iterator[tuple[str, Any]]:
    yield "shorter", value[:-1]
    yield "noise", bytes(range(256))
    yield "a text", "text"
    yield "a number", 3
    yield "a list", [1]


def _path(value: os.PathLike[str]) -> Iterator[tuple[str, Any]]:
    yield "nothing there", os.fspath(value) + ".not-there/x"
    yield "a zero byte", "a\0b"
    yield "a number", 3.5
    yield "a list", [os.fspath(value)]


def _array(value: np.ndarray) -> Iterator[tuple[str, Any]]:
    yield "one less", value[:-1]
    yield "none", value[:0]
    yield "one more", np.concatenate([value, value[-1:]])
    yield "more dimensions", value[..., np.newaxis]
    yield "fewer dimensions", value.reshape(-1)[0]
    if value.ndim == 2:
        yield "narrower", value[:, :-1]
        yield "wider", np.hstack([value, value])
        yield "flat", value.reshape(-1)
    yield "texts", np.full(value.shape, "a")
    yield "objects", np.full(value.shape, None)
    yield "complex numbers", value.astype(complex) + 1j
    yield "masked", np.ma.masked_array(value, np.arange(value.size).reshape(value.shape) == 0)
    yield "a text", "text"
    yield "moments", np.zeros(value.shape, "datetime64[s]")
    for name, number in (("NaN", np.nan), ("infinite", np.inf), ("huge", 1e39)):
        wrong = value.astype(np.float64)
        wrong.reshape(-1)[-1] = number
        yield name, wrong if value.dtype.kind != "f" else wrong.astype(value.dtype) if number != 1e39 else wrong
    if value.dtype.kind in "iu":
        for name, number in (("far too large", 2**40), ("negative", -(2**40))):
            wrong = value.astype(np.int64)
            wrong.reshape(-1)[-1] = number
            yield name, wrong


def _matrix(value: sp.csr_matrix) -> Iterator[tuple[str, Any]]:
    yield "one row less", value[:-1]
    yield "no rows", value[:0]
    yield "one row more", sp.vstack([value, value[-1:]], "csr")
    yield "narrower", value[:, :-1]
    yield "wider", sp.hstack([value, value], "csr")
    yield "a text", "text"
    yield "ragged lists", [[1.0], [1.0, 2.0]]
    for name, number in (("NaN", np.nan), ("infinite", np.inf)):
        wrong = value.copy()
        wrong.data[-1] = number
        yield name, wrong
    for name, attribute, change in (
        ("keys beyond", "indices", lambda a: np.where(np.arange(len(a)) == 1, 2**30, a)),
        ("negative keys", "indices", lambda a: np.where(np.arange(len(a)) == 1, -1, a)),
        ("keys of 64 bits", "indices", lambda a: a.astype(np.int64) + 2**32),
        ("fewer keys", "indices", lambda a: a[:-2]),
        ("fewer values", "data", lambda a: a[:-2]),
        ("texts", "data", lambda a: np.full(len(a), "a")),
        ("complex numbers", "data", lambda a: a + 1j),
        ("rows that end beyond", "indptr", lambda a: np.append(a[:-1], a[-1] + 100)),
        ("rows that begin behind", "indptr", lambda a: np.append(a[:1] + 1, a[1:])),
        ("rows that fall", "indptr", lambda a: np.concatenate([a[:2], a[:1], a[3:]])),
        ("fewer starts", "indptr", lambda a: a[:-1]),
        ("starts that are no integers", "indptr", lambda a: a + 0.5),
    ):
        wrong = value.copy()
        setattr(wrong, attribute, change(getattr(value, attribute)))
        yield name, wrong


def _batch(value: Batch) -> Iterator[tuple[str, Any]]:
    """Batches that do not hold together are made as no caller should: past the constructor."""
    yield "no batch", value.values
    yield "a list", [value]
    indptr, indices, d, labels = value.indptr, value.indices, value.feature_dim, value.labels
    if indptr is None or indices is None:
        yield "narrower", Batch(d - 1, np.ascontiguousarray(value.values[:, :-1]), labels=labels)
        yield "wider", Batch(d + 1, np.ones((value.n_rows, d + 1), np.float32), labels=labels)
        yield "narrower than it says", _unchecked(d, value.values[:, :-1], None, None, labels)
        return
    yield "narrower", Batch(d - 1, value.values[:0], np.zeros_like(indptr), indices[:0], labels)
    yield "wider", Batch(d + 1, value.values, indptr, indices, labels)
    yield (
        "keys beyond",
        _unchecked(d, value.values, indptr, np.where(indices == indices.max(), 1 << 30, indices), labels),
    )
    yield "negative keys", _unchecked(d, value.values, indptr, indices - np.int32(d), labels)
    yield "fewer values", _unchecked(d, value.values[:-1], indptr, indices, labels)
    yield "rows that end beyond", _unchecked(d, value.values, np.append(indptr[:-1], indptr[-1] + 100), indices, labels)
    yield "rows that fall", _unchecked(d, value.values, np.append(indptr[:-1][::-1], indptr[-1]), indices, labels)


def _unchecked(feature_dim: int, *arrays: Any) -> Batch:
    batch = object.__new__(Batch)
    names = ("feature_dim", "values", "indptr", "indices", "labels")
    for name, value in zip(names, (feature_dim, *arrays), strict=True):
        object.__setattr__(batch, name, np.ascontiguousarray(value) if isinstance(value, np.ndarray) else value)
    return batch


def _model(value: Model) -> Iterator[tuple[str, Any]]:
    k = value.num_factors
    yield "narrower", Model(value.predictor_type, value.w0, value.w[:-1], value.V[:-1])
    yield "wider", Model(value.predictor_type, value.w0, np.ones(99, np.float32), np.ones((99, k), np.float32))
    yield "a batch", Batch.empty(value.feature_dim)
    yield "a number", 3
    yield "a text", "model"


def _function(value: Any) -> Iterator[tuple[str, Any]]:
    yield "a number", 3
    yield "a text", "f"
    yield "one that gives nothing", lambda *_: None
    yield "one that gives a number", lambda *_: 3
    yield "one that gives a list of nothing", lambda *_: [None]
    yield "one that gives arrays", lambda *_: [np.ones((3, 7))]


def _sequence(value: Any) -> Iterator[tuple[str, Any]]:
    yield "one less", value[:-1]
    yield "one more", [*value, value[-1]]
    yield "of nothing", [None] * len(value)
    yield "of objects", [object()] * len(value)
    yield "of NaN", [float("nan")] * len(value)
    yield "a number", 3
    yield "a text", "text"


def _mapping(value: Any) -> Iterator[tuple[str, Any]]:
    yield "nothing in it", {}
    yield "a strange key", value | {"no such\nthing": 1}
    yield "a key that is no text", value | {3: 1}
    yield "nothing for each", dict.fromkeys(value)
    yield "a list", list(value)
    yield "a number", 3
    yield "a text", "text"


def _other(value: Any) -> Iterator[tuple[str, Any]]:
    yield "nothing", None
    yield "a number", 3
    yield "a text", "text"
    yield "a list", [value]


SPOILERS = {
    bool: _bool, int: _int, float: _float, str: _text, bytes: _bytes, os.PathLike: _path, np.ndarray: _array,
    sp.csr_matrix: _matrix, Batch: _batch, Model: _model, (list, tuple): _sequence, dict: _mapping,
    types.FunctionType: _function,
}  # fmt: skip
