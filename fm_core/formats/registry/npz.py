"""npz files, as SciPy's ``save_npz`` writes sparse matrices, or with dense rows under ``X``: the registry's functions.

SciPy is imported when a file is read.
"""

import io
import math
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np
from numpy.lib import format as npy

from fm_core.arrays import BLOCK_BYTES
from fm_core.batch import Batch
from fm_core.errors import DataError, ResourceError
from fm_core.formats.registry import Format
from fm_core.formats.registry.files import InputFile
from fm_core.formats.registry.inputs import Options, RowInput
from fm_core.printable import begun, first_line, printable
from fm_core.resources import available_memory

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["make_writer", "open_rows", "read_npz", "write_npz"]

_NAMES = ("X", "y", "weights", "format", "shape", "data", "indices", "indptr", "row", "col", "offsets")

#: What zipfile, numpy and SciPy raise of bytes that are not what they expect.
_FAULTS = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError, EOFError, OSError,
           zipfile.BadZipFile, zlib.error, tokenize.TokenError, SyntaxError)  # fmt: skip


def open_rows(files: Sequence[InputFile], of: Format, options: Options) -> RowInput:
    """Read all of the files.

    The parameters are those of `fm_core.formats.registry.inputs.open_rows`, of one format.

    Returns
    -------
    opened : RowInput

    Raises
    ------
    DataError
        Files differ in their width or kind of rows, or labels are wanted and missing.
    """
    whole = [read_npz(file.name, file.for_library()) for file in files]
    for file, batch in zip(files, whole, strict=True):
        if (batch.feature_dim, batch.is_dense) != (whole[0].feature_dim, whole[0].is_dense):
            raise DataError(
                f"{file}: rows have {batch.feature_dim} features, expected {whole[0].feature_dim} and the kind of rows "
                f"of {files[0]}"
            )
        if batch.labels is None and (options.labels == "real" or whole[0].labels is not None):
            raise DataError(f"{file}: there is no array y, expected the labels in it")

    def batches() -> Iterator[Batch]:
        for batch in whole:
            yield batch.with_labels(None if options.labels == "none" else batch.labels)

    return RowInput(whole[0].feature_dim, None, batches)


class _Writer:
    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._batches: list[Batch] = []

    def write(self, batch: Batch) -> None:
        self._batches.append(batch)

    def close(self) -> None:
        # By way of memory: a zip seeks, which a compressed file cannot.
        if self._batches:
            buffer = io.BytesIO()
            write_npz(buffer, Batch.concatenate(self._batches))
            self._file.write(buffer.getbuffer())


def make_writer(file: BinaryIO, of: Format, first_key: int = 0) -> _Writer:
    """Make what keeps all rows until it is closed, and then writes them.

    See `fm_core.formats.registry` for what it takes and gives.
    """
    return _Writer(file)


def read_npz(name: str, file: "str | IO[bytes] | None" = None) -> Batch:
    """Read a matrix that ``scipy.sparse.save_npz`` wrote, or dense rows under ``X``; labels, if any, are under ``y``,
    weights under ``weights``.

    Parameters
    ----------
    name : str
        Its path; only its name, for messages, if there is a `file`.
    file : path or binary file, optional

    Returns
    -------
    batch : Batch
        All rows.

    Raises
    ------
    DataError
        It is no npz file, or holds something else.
    """
    file = file or name
    if not zipfile.is_zipfile(file):
        raise DataError(f"{name}: the file is not a zip archive, expected an npz file")
    try:
        arrays = _arrays(file)
        dense = arrays.get("X")
        matrix = _matrix(arrays) if dense is None else dense
        if matrix.ndim != 2:
            raise DataError(f"dense rows have {matrix.ndim} dimensions, expected 2")
        n_rows, labels = matrix.shape[0], arrays.get("y")
        if labels is not None and labels.shape != (n_rows,):
            raise DataError(f"y has shape {labels.shape}, expected ({n_rows},), one label for each row")
        make = Batch.from_csr if dense is None else Batch.from_dense
        return make(matrix, labels, arrays.get("weights"))
    except (DataError, ResourceError) as error:
        raise type(error)(f"{name}: {error}") from error.__cause__
    except MemoryError as error:
        raise ResourceError(f"{name}: its arrays do not fit in memory: {error}") from error
    except _FAULTS as error:
        said = printable(first_line(error), 200)
        raise DataError(f"{name}: {said}; expected an npz file with a sparse matrix of SciPy's or X") from error


def _check_room(what: str, n_bytes: int) -> None:
    room = available_memory()
    if n_bytes > room:
        raise ResourceError(f"{what} take {n_bytes} bytes of memory, of which {room} are free")


def _arrays(file: "str | IO[bytes]") -> dict[str, "NDArray[Any]"]:
    """Read the arrays that are asked for.

    As numpy's own reader would, but none that is of Python's objects, and none whose shape says more than its member
    does, or than memory. Of what a member says in vain no page of memory is touched.
    """
    found: dict[str, NDArray[Any]] = {}
    with zipfile.ZipFile(file) as archive:
        wanted = [member for member in archive.infolist() if member.filename.removesuffix(".npy") in _NAMES]
        _check_room("its arrays", sum(member.file_size for member in wanted))
        for member in wanted:
            name = member.filename.removesuffix(".npy")
            if name in found:
                raise DataError(f"there are two arrays {name}, expected one")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise DataError(f"{name} is compressed by method {member.compress_type}, expected stored or deflated")
            with archive.open(member) as stream:
                found[name] = _array(name, stream, member.file_size)
    return found


def _array(name: str, stream: IO[bytes], n_bytes: int) -> "NDArray[Any]":
    version = npy.read_magic(stream)
    read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read_header is None:
        raise DataError(f"{name} has version {version} of npy, expected 1.0 or 2.0")
    shape, is_fortran, dtype = read_header(stream)
    n = math.prod(shape) * dtype.itemsize
    if dtype.hasobject:
        raise DataError(f"{name} has objects of Python, which are not read, expected numbers")
    if min(shape, default=0) < 0 or n > n_bytes:
        raise DataError(f"{name} declares shape {begun(shape, 60)} of {begun(dtype, 40)}, and has {n_bytes} bytes")
    array = np.empty(n, np.uint8)
    at = 0
    while at < n:
        piece = stream.read(min(BLOCK_BYTES, n - at))
        if not piece:
            raise DataError(f"{name} ends after {at} bytes of {n}: the file is truncated")
        array[at : at + len(piece)] = np.frombuffer(piece, np.uint8)
        at += len(piece)
    stream.read(1)  # at the end zipfile compares the checksum
    return array.view(dtype).reshape(shape, order="F" if is_fortran else "C")


def _matrix(arrays: dict[str, "NDArray[Any]"]) -> Any:
    """Make the matrix that ``save_npz`` took apart, of places that are all inside it: SciPy does not look itself."""
    from scipy import sparse

    missing = next((name for name in ("format", "shape", "data") if name not in arrays), None)
    if missing is not None:
        raise DataError(f"there is no array {missing}, expected an npz file with a sparse matrix of SciPy's or X")
    kind, data = arrays["format"].item(), arrays["data"]
    kind = kind.decode("ascii") if isinstance(kind, bytes) else kind
    shape = tuple(arrays["shape"].tolist())
    if len(shape) != 2 or not all(isinstance(n, int) and n >= 0 for n in shape):
        raise DataError(f"shape is {begun(shape, 60)}, expected the numbers of rows and columns")
    _check_room(f"the starts of {shape[0]} rows", 8 * shape[0])
    if kind in ("csr", "csc", "bsr"):
        matrix = getattr(sparse, f"{kind}_matrix")((data, arrays["indices"], arrays["indptr"]), shape=shape)
        matrix.check_format(full_check=True)
    elif kind == "coo":
        matrix = sparse.coo_matrix((data, (arrays["row"], arrays["col"])), shape=shape)
    elif kind == "dia":
        matrix = sparse.dia_matrix((data, arrays["offsets"]), shape=shape)
    else:
        raise DataError(f"the matrix has format {begun(kind)}, expected csr, csc, bsr, coo or dia")
    return matrix.tocsr()


def write_npz(file: BinaryIO, batch: Batch) -> None:
    """Write rows as `read_npz` reads them.

    Parameters
    ----------
    file : binary file
    batch : Batch
    """
    arrays: dict[str, Any] = {} if batch.labels is None else {"y": batch.labels}
    if batch.weights is not None:
        arrays["weights"] = batch.weights
    if batch.indptr is None or batch.indices is None:
        arrays["X"] = batch.values
    else:
        arrays |= {
            "data": batch.values,
            "indices": batch.indices,
            "indptr": batch.indptr,
            "shape": np.array([batch.n_rows, batch.feature_dim]),
            "format": np.array(b"csr"),
        }
    np.savez(file, **arrays)
