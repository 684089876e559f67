"""npz files, as SciPy's ``save_npz`` writes sparse matrices, or with dense rows under ``X``: the registry's functions.

SciPy is imported when a file is read.
"""

import io
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any, BinaryIO

import numpy as np

from fm_core.batch import Batch
from fm_core.errors import DataError
from fm_core.formats.registry import Format
from fm_core.formats.registry.files import InputFile
from fm_core.formats.registry.inputs import Options, RowInput

__all__ = ["make_writer", "open_rows", "read_npz", "write_npz"]


def open_rows(files: Sequence[InputFile], of: Format, options: Options) -> RowInput:
    """Read all of the files."""
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
    """Make what keeps all rows until the end."""
    return _Writer(file)


def read_npz(name: str, file: "str | IO[bytes] | None" = None) -> Batch:
    """Read a matrix that ``scipy.sparse.save_npz`` wrote, or dense rows under ``X``; labels, if any, are under ``y``,
    weights under ``weights``.

    Parameters
    ----------
    name : str
        Its path; only its name, for messages, if there is a `file`.
    file : path or binary file, optional

    Raises
    ------
    DataError
        It is no npz file, or holds something else.
    """
    from scipy.sparse import load_npz

    file = file or name
    if not zipfile.is_zipfile(file):
        raise DataError(f"{name}: the file is not a zip archive, expected an npz file")
    try:
        with np.load(file) as arrays:
            labels, weights = arrays.get("y", None), arrays.get("weights", None)
            dense = arrays.get("X", None)
        matrix = load_npz(file).tocsr() if dense is None else dense
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile, AttributeError) as error:
        raise DataError(
            f"{name}: {str(error).splitlines()[0][:200]}; expected an npz file with a sparse matrix of SciPy's or X"
        ) from error
    n_rows = matrix.shape[0]
    if labels is not None and labels.shape != (n_rows,):
        raise DataError(f"{name}: y has shape {labels.shape}, expected ({n_rows},), one label for each row")
    try:
        return Batch.from_csr(matrix, labels, weights) if dense is None else Batch.from_dense(matrix, labels, weights)
    except (DataError, ValueError) as error:
        raise DataError(f"{name}: {error}") from error


def write_npz(file: BinaryIO, batch: Batch) -> None:
    """Write what `read_npz` reads."""
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
