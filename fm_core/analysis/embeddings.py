"""Vectors of features for other tools: nearest neighbours, plots, other models.

The score of a row with one user feature u and one item feature i is a constant of the user
plus ``w_i + <v_u, v_i>``. This is the inner product of the item's vector ``[v_i, w_i]``
and the user's ``[v_u, 1]``. So an index for the largest inner product that contains item
vectors, queried with a user's vector, returns the items in the order of their scores.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from fm_core.analysis.inspection import blocks
from fm_core.atomic_file import atomic_write
from fm_core.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fm_core.model import Model

__all__ = ["KINDS", "WRITERS", "vectors", "write_vectors"]

Names = Callable[[int], str]
Block = tuple[int, "NDArray[np.float32]"]


def _items(model: "Model", rows: slice) -> "NDArray[np.float32]":
    return np.column_stack([model.V[rows], model.w[rows]])


def _users(model: "Model", rows: slice) -> "NDArray[np.float32]":
    V = model.V[rows]
    return np.column_stack([V, np.ones(len(V), np.float32)])


def _factors(model: "Model", rows: slice) -> "NDArray[np.float32]":
    return np.ascontiguousarray(model.V[rows])


#: What the vector of a feature is made of.
KINDS: dict[str, Callable[["Model", slice], "NDArray[np.float32]"]] = {
    "items": _items,
    "users": _users,
    "factors": _factors,
}


def vectors(model: "Model", kind: str, features: range) -> Iterator[Block]:
    """Yield the vectors of some features, a few megabytes at a time.

    Parameters
    ----------
    model : Model
    kind : {"items", "users", "factors"}
        ``[v, w]``, ``[v, 1]`` or ``v``.
    features : range
        Of step 1.

    Yields
    ------
    first : int
        The feature of the block's first row.
    block : ndarray of float32, shape (n, num_factors + 1), or (n, num_factors) of factors
    """
    for rows in blocks(model):
        start, stop = max(rows.start, features.start), min(rows.stop, features.stop)
        if start < stop:
            yield start, KINDS[kind](model, slice(start, stop))


def write_vectors(path: Path, model: "Model", kind: str, features: range, names: Names = str) -> list[Path]:
    """Write the vectors of some features; the file's ending says in which format.

    Parameters
    ----------
    path : Path
        ``.npy`` (a matrix), ``.tsv`` (for the embedding projector, with the names beside it in
        ``*.metadata.tsv``) or ``.parquet`` (feature, name, vector; needs pyarrow).
    model, kind, features
        As for `vectors`.
    names : callable
        The name of a feature.

    Returns
    -------
    written : list of Path

    Raises
    ------
    ConfigError
        No format has this ending, pyarrow is needed and absent, or there are no such features.
    """
    if path.suffix not in WRITERS:
        raise ConfigError(f"{path} ends in {path.suffix!r}, expected one of {', '.join(WRITERS)}")
    if not 0 <= features.start < features.stop <= model.feature_dim:
        raise ConfigError(
            f"features are {features.start}:{features.stop}, expected a range within 0:{model.feature_dim}, "
            "the model's features"
        )
    width = model.num_factors + (kind != "factors")
    return WRITERS[path.suffix](path, (len(features), width), vectors(model, kind, features), names)


def _write_npy(path: Path, shape: tuple[int, int], parts: Iterator[Block], names: Names) -> list[Path]:
    with atomic_write(path) as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for _, block in parts:
            file.write(np.ascontiguousarray(block, "<f4").data)
    return [path]


def _write_tsv(path: Path, shape: tuple[int, int], parts: Iterator[Block], names: Names) -> list[Path]:
    metadata = path.with_suffix(".metadata.tsv")
    with atomic_write(path) as file, atomic_write(metadata) as labels:
        labels.write(b"feature\tname\n")  # the projector wants a header where there are two columns
        for first, block in parts:
            file.write("".join("\t".join(map(repr, row)) + "\n" for row in _shortest(block)).encode())
            _write_names(labels, first, len(block), names)
    return [path, metadata]


def _shortest(block: "NDArray[np.float32]") -> list[list[float]]:
    """Python floats that print as the float32 does: 0.1, not 0.10000000149011612."""
    return [[float(str(value)) for value in row] for row in block]


def _write_names(file: BinaryIO, first: int, n: int, names: Names) -> None:
    for feature in range(first, first + n):
        name = names(feature).translate({9: " ", 10: " ", 13: " "})
        file.write(f"{feature}\t{name}\n".encode())


def _write_parquet(path: Path, shape: tuple[int, int], parts: Iterator[Block], names: Names) -> list[Path]:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError as error:
        raise ConfigError("Parquet needs pyarrow, which cannot be imported here: pip install pyarrow") from error
    schema = pa.schema([("feature", pa.int32()), ("name", pa.string()), ("vector", pa.list_(pa.float32(), shape[1]))])
    with atomic_write(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for first, block in parts:
            features = range(first, first + len(block))
            flat = pa.array(block.reshape(-1))
            columns: Sequence[Any] = (
                pa.array(np.arange(features.start, features.stop, dtype=np.int32)),
                pa.array([names(feature) for feature in features], pa.string()),
                pa.FixedSizeListArray.from_arrays(flat, shape[1]),
            )
            writer.write_table(pa.Table.from_arrays(columns, schema=schema))
    return [path]


WRITERS: dict[str, Callable[[Path, tuple[int, int], Iterator[Block], Names], list[Path]]] = {
    ".npy": _write_npy,
    ".tsv": _write_tsv,
    ".parquet": _write_parquet,
}
