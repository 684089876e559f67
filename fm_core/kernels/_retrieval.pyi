from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

BLOCK: Final[int]
NAMES: Final[tuple[str, ...]]

def builds() -> tuple[str, ...]: ...
def use(name: str) -> None: ...
def norms(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    V: NDArray[np.float32],
    norm: NDArray[np.float64],
    num_threads: int,
) -> None: ...
def pack(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    V: NDArray[np.float32],
    bias: NDArray[np.float64],
    order: NDArray[np.int64],
    codes: NDArray[np.uint8],
    scale: NDArray[np.float32],
    bias_out: NDArray[np.float32],
    bounds: NDArray[np.float32],
    num_threads: int,
) -> None: ...
def scan(
    codes: NDArray[np.uint8],
    scale: NDArray[np.float32],
    bias: NDArray[np.float32],
    bounds: NDArray[np.float32],
    query_codes: NDArray[np.int8],
    query_numbers: NDArray[np.float32],
    allowed: Sequence[NDArray[np.uint16] | None],
    top: int,
    num_threads: int,
) -> list[NDArray[np.int64]]: ...
