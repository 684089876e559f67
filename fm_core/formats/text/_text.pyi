from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

class LibsvmRows:
    consumed: int
    next_line: int
    n_rows: int
    ascending: bool
    is_doubtful: bool
    labels: NDArray[np.float32] | None
    weights: NDArray[np.float32] | None
    indptr: NDArray[np.int64]
    indices: NDArray[np.int32]
    values: NDArray[np.float32]
    lines: NDArray[np.int64]
    faulty: int
    fault_line: int
    fault_number: int
    fault_at: bytes | None
    def __init__(
        self,
        data: bytes,
        *,
        final: bool,
        first_line: int,
        feature_dim: int,
        first_key: int,
        labels: str,
        weights: bool | None = None,
    ) -> None: ...

class Cells:
    consumed: int
    next_line: int
    n_rows: int
    n_columns: int
    lines: NDArray[np.int64]
    faulty: int
    fault_line: int
    fault_number: int
    fault_at: bytes | None
    def __init__(
        self,
        data: bytes,
        *,
        final: bool,
        first_line: int,
        delimiter: bytes,
        n_columns: int = 0,
        quotes: bool = True,
        doubtful: bool = False,
    ) -> None: ...
    @property
    def is_utf8(self) -> bool: ...
    def places(self, column: int) -> tuple[bytearray, NDArray[np.int32]]: ...
    def text(self, row: int, column: int) -> bytes: ...
    def numbers(self, columns: Sequence[int], *, words: bool = False) -> tuple[NDArray[np.float32], int]: ...

def number_in(text: bytes) -> float: ...
