"""Rows of a file, scored or explained one batch after the other, with a bar on a terminal."""

import sys
from collections.abc import Iterator
from pathlib import Path

from fm_core.batch import Batch
from fm_core.formats import Source, decompressed, read_batches

__all__ = ["read_rows"]

_CHUNK_BYTES = 1 << 20
_ROWS_A_BATCH = 10_000


def read_rows(
    path: Path, *, feature_dim: int, labels: str = "none", rows_a_batch: int = _ROWS_A_BATCH
) -> Iterator[Batch]:
    """Read a file of RecordIO-protobuf (or gzip of it), and show how far one is.

    Parameters
    ----------
    path : Path
    feature_dim : int
    labels : {"none", "binary", "real"}
        Whether labels are read too.
    rows_a_batch : int
    """
    with path.open("rb", buffering=0) as file, _bar(path) as bar:

        def chunks() -> Iterator[bytes]:
            while chunk := file.read(_CHUNK_BYTES):
                bar.update(len(chunk))
                yield chunk

        source = Source(str(path), decompressed(chunks(), str(path)))
        yield from read_batches([source], feature_dim=feature_dim, batch_size=rows_a_batch, labels=labels)


class _NoBar:
    def __enter__(self) -> "_NoBar":
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def update(self, n: int) -> None:
        pass


def _bar(path: Path) -> "_NoBar":
    """A progress bar where someone looks at standard error, and tqdm is there."""
    if not sys.stderr.isatty():
        return _NoBar()
    try:
        from tqdm import tqdm
    except ImportError:
        return _NoBar()
    size = path.stat().st_size or None  # a pipe has none
    bar: _NoBar = tqdm(desc=path.name, total=size, unit="B", unit_scale=True, leave=False, dynamic_ncols=True)
    return bar
