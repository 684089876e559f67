"""MXNet's NDArray list, the format of the artifact's `params`: bytes only, no files.

Everything is little endian::

    file   := u64 0x112 | u64 0 | u64 n | n * array | u64 n | n * (u64 length | name)
    array  := u32 magic | i32 stype (0 dense, 1 row_sparse, 2 csr)
              [row_sparse: shape of the stored rows] | shape
              i32 device type (1, cpu) | i32 device id (0) | i32 dtype
              [row_sparse: i32 6 (int64) | shape of the row ids]
              data, C order | [row_sparse: row ids, int64]
    shape  := u32 ndim | ndim * i64

    magic     layout of an array
    F993FAC9  the above (MXNet 0.12 to 1.x; what is written here)
    F993FACA  the same, dense arrays only (arrays with NumPy's shape rules)
    F993FAC8  shape | device | dtype | data
    other     the oldest: the magic is ndim, then ndim * u32, device, dtype, data

Writing streams: an array may be a strided view of a model that fills most of the
memory. Reading gives views of the bytes it is handed, whatever their size; every
declared number is checked against the bytes that are there before it is used.
"""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, NoReturn, Protocol

import numpy as np
from numpy.typing import NDArray

from fm_core import arrays
from fm_core.errors import ArtifactError

__all__ = ["Array", "StoredArray", "Values", "data_offset", "decode", "encode", "encoded_size"]

_LIST_MAGIC = 0x112
_V1, _V2, _V3 = 0xF993FAC8, 0xF993FAC9, 0xF993FACA
_DENSE, _ROW_SPARSE = 0, 1
_STYPES = {_DENSE: "dense", _ROW_SPARSE: "row_sparse", 2: "csr"}
_DTYPES = {0: "<f4", 1: "<f8", 2: "<f2", 3: "u1", 4: "<i4", 5: "i1", 6: "<i8", 7: "?"}
_FLOAT32, _INT64 = 0, 6
_CPU = (1, 0)

# A model has three arrays and two dimensions; what declares many more is not one.
_MAX_ARRAYS = 64
_MAX_DIMENSIONS = 8


class Values(Protocol):
    """What is asked of an array to be written: its rows, a block at a time. An ndarray has it."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows first."""

    @property
    def nbytes(self) -> int:
        """Of float32."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Any, /) -> Any: ...


class Array(NamedTuple):
    """An array to be written.

    Attributes
    ----------
    name : str
    values : ndarray of float32, or other Values
        May be strided; it is copied a block of rows at a time.
    row_sparse : bool
        Stored as row_sparse with every row present, as the built-in stores `w1_weight` and `v`.
    """

    name: str
    values: Values
    row_sparse: bool


class StoredArray(NamedTuple):
    """An array that was read.

    Attributes
    ----------
    shape : tuple of int
        The logical shape.
    values : ndarray, shape `shape`, or (n_stored, *shape[1:]) if `row_ids` is not None
        A view of the bytes that were decoded; may be unaligned. Without items, of shape (0,).
    row_ids : ndarray of int64, shape (n_stored,), or None
        For a row_sparse array, which row each stored row is: distinct, in
        [0, shape[0]), in any order; the other rows are zero.
    """

    shape: tuple[int, ...]
    values: NDArray[Any]
    row_ids: NDArray[np.int64] | None


def encode(arrays: Sequence[Array]) -> Iterator[bytes | memoryview]:
    """Yield the bytes of an NDArray list, in pieces of a few megabytes at most.

    Parameters
    ----------
    arrays : sequence of Array

    Yields
    ------
    piece : bytes-like
    """
    yield struct.pack("<QQQ", _LIST_MAGIC, 0, len(arrays))
    for array in arrays:
        yield _header(array)
        yield from _values(array)
        if array.row_sparse:
            yield from _row_ids(len(array.values))
    yield struct.pack("<Q", len(arrays))
    for array in arrays:
        yield _name(array)


def encoded_size(arrays: Sequence[Array]) -> int:
    """Return the number of bytes that `encode` yields.

    Parameters
    ----------
    arrays : sequence of Array

    Returns
    -------
    n_bytes : int
    """
    return data_offset(arrays, len(arrays)) + 8 + sum(len(_name(array)) for array in arrays)


def data_offset(arrays: Sequence[Array], index: int) -> int:
    """Return the position of an array's values in the bytes of `encode`.

    Parameters
    ----------
    arrays : sequence of Array
    index : int
        The position of the array in the list; the length of the list means the end of all arrays.

    Returns
    -------
    offset : int
        In bytes.
    """
    offset = 24
    for array in arrays[:index]:
        offset += len(_header(array)) + array.values.nbytes + (8 * len(array.values) if array.row_sparse else 0)
    return offset + (len(_header(arrays[index])) if index < len(arrays) else 0)


def _header(array: Array) -> bytes:
    shape = _shape(array.values.shape)
    tail = struct.pack("<iii", *_CPU, _FLOAT32)
    if array.row_sparse:
        ids = struct.pack("<i", _INT64) + _shape((len(array.values),))
        return struct.pack("<Ii", _V2, _ROW_SPARSE) + shape + shape + tail + ids
    return struct.pack("<Ii", _V2, _DENSE) + shape + tail


def _shape(shape: Sequence[int]) -> bytes:
    return struct.pack(f"<I{len(shape)}q", len(shape), *shape)


def _name(array: Array) -> bytes:
    name = array.name.encode()
    return struct.pack("<Q", len(name)) + name


def _values(array: Array) -> Iterator[memoryview]:
    values = array.values
    rows = max(1, arrays.CACHE_BYTES // (4 * math.prod(values.shape[1:])))
    for start in range(0, len(values), rows):
        block = np.ascontiguousarray(values[start : start + rows], "<f4")
        if not arrays.is_finite(block):
            raise ArtifactError(f"{array.name} has a parameter that is not finite: every reader would reject the model")
        yield block.data.cast("B")


def _row_ids(count: int) -> Iterator[memoryview]:
    rows = arrays.CACHE_BYTES // 8
    for start in range(0, count, rows):
        yield np.arange(start, min(start + rows, count), dtype="<i8").data.cast("B")


def decode(data: memoryview) -> dict[str, StoredArray]:
    """Read an NDArray list.

    Parameters
    ----------
    data : memoryview of bytes
        The whole list. The arrays are views of it.

    Returns
    -------
    arrays : dict of str to StoredArray
        By name, as stored (MXNet's `arg:` included).

    Raises
    ------
    ArtifactError
        The bytes are not such a list, or end too early, or contradict themselves.
    """
    reader = _Reader(data)
    magic, reserved, count = reader.numbers("QQQ", "the head of the list")
    if magic != _LIST_MAGIC or reserved != 0:
        raise ArtifactError(f"params starts with {magic:#x}, expected MXNet's {_LIST_MAGIC:#x}: not an NDArray list")
    if count > _MAX_ARRAYS:
        reader.refuse(f"declares {count} arrays, expected at most {_MAX_ARRAYS}")
    arrays = [_array(reader) for _ in range(count)]
    (named,) = reader.numbers("Q", "the number of names")
    if named != count:
        reader.refuse(f"has {named} names for {count} arrays, expected one each")
    names = [reader.text() for _ in range(count)]
    if len(set(names)) != count:
        reader.refuse(f"has two arrays of one name among {', '.join(map(repr, names))}")
    if reader.left:
        reader.refuse(f"goes on for {reader.left} bytes after its last name, expected its end")
    return dict(zip(names, arrays, strict=True))


class _Reader:
    """A position in the bytes of a list."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> int:
        return len(self._data) - self._at

    def refuse(self, what: str) -> NoReturn:
        raise ArtifactError(f"params {what} (byte {self._at})")

    def skip(self, size: int, what: str) -> int:
        """Step over `size` bytes that must be there; give where they start."""
        if size > self.left:
            self.refuse(f"ends inside {what}, which takes {size} bytes where {self.left} are left")
        start = self._at
        self._at += size
        return start

    def numbers(self, layout: str, what: str) -> tuple[int, ...]:
        layout = "<" + layout
        return struct.unpack_from(layout, self._data, self.skip(struct.calcsize(layout), what))

    def shape(self, ndim: int | None = None, item: str = "q") -> tuple[int, ...]:
        if ndim is None:
            (ndim,) = self.numbers("I", "a shape")
        if ndim > _MAX_DIMENSIONS:
            self.refuse(f"declares an array of {ndim} dimensions, expected at most {_MAX_DIMENSIONS}")
        shape = self.numbers(f"{ndim}{item}", "a shape")
        if any(size < 0 for size in shape):
            self.refuse(f"declares an array of shape {shape}, expected sizes of at least 0")
        return shape

    def dtype(self) -> np.dtype[Any]:
        (code,) = self.numbers("i", "a data type")
        if code not in _DTYPES:
            self.refuse(f"declares data type {code}, which MXNet does not define")
        return np.dtype(_DTYPES[code])

    def array(self, shape: tuple[int, ...], dtype: np.dtype[Any]) -> NDArray[Any]:
        count = math.prod(shape)
        start = self.skip(count * dtype.itemsize, f"an array of shape {shape}")
        if count == 0:  # the other sizes may be of any size, and more than NumPy takes
            return np.empty(0, dtype)
        return np.frombuffer(self._data, dtype, count, start).reshape(shape)

    def text(self) -> str:
        (size,) = self.numbers("Q", "the length of a name")
        start = self.skip(size, "a name")
        try:
            return bytes(self._data[start : start + size]).decode()
        except UnicodeDecodeError:
            self.refuse("has a name that is not UTF-8 text")


def _array(reader: _Reader) -> StoredArray:
    (magic,) = reader.numbers("I", "an array")
    if magic not in (_V2, _V3):
        return _dense(reader, reader.shape() if magic == _V1 else reader.shape(magic, "I"))
    (stype,) = reader.numbers("i", "a storage type")
    if stype not in (_DENSE, _ROW_SPARSE):
        reader.refuse(f"has an array stored as {_STYPES.get(stype, stype)}, expected dense or row_sparse")
    if stype == _ROW_SPARSE:
        return _row_sparse(reader)
    return _dense(reader, reader.shape(), has_scalars=magic == _V3)


def _dense(reader: _Reader, shape: tuple[int, ...], has_scalars: bool = False) -> StoredArray:
    # By MXNet's older rules no dimensions means no array, and nothing follows.
    if not shape and not has_scalars:
        return StoredArray((0,), np.empty(0, np.float32), None)
    reader.numbers("ii", "a device")
    return StoredArray(shape, reader.array(shape, reader.dtype()), None)


def _row_sparse(reader: _Reader) -> StoredArray:
    stored, shape = reader.shape(), reader.shape()
    if not shape or len(stored) != len(shape) or stored[1:] != shape[1:] or stored[0] > shape[0]:
        reader.refuse(f"has rows of shape {stored} for a row_sparse array of shape {shape}")
    reader.numbers("ii", "a device")
    dtype = reader.dtype()
    if reader.dtype() != np.int64:
        reader.refuse("has row ids that are not int64")
    ids_shape = reader.shape()
    if ids_shape != stored[:1]:
        reader.refuse(f"has row ids of shape {ids_shape} for {stored[0]} rows, expected one each")
    values = reader.array(stored, dtype)
    row_ids = reader.array(ids_shape, np.dtype("<i8"))
    if len(row_ids) and not (row_ids.min() >= 0 and row_ids.max() < shape[0]):
        reader.refuse(f"has row ids from {row_ids.min()} to {row_ids.max()}, expected 0 to {shape[0] - 1}")
    if not _is_rising(row_ids) and len(np.unique(row_ids)) != len(row_ids):
        reader.refuse("has a row id twice")
    return StoredArray(shape, values, row_ids)


def _is_rising(row_ids: NDArray[np.int64]) -> bool:
    rows = arrays.CACHE_BYTES // 8
    return all(bool((np.diff(row_ids[start : start + rows + 1]) > 0).all()) for start in range(0, len(row_ids), rows))
