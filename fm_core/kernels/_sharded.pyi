import numpy as np
from numpy.typing import NDArray

from fm_core.kernels.interface import Step

def order(features: NDArray[np.int32], world: int, n_local: int, out: NDArray[np.int32]) -> None: ...
def columns(
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    row_values: NDArray[np.float32],
    at: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
) -> None: ...
def places(ranks: NDArray[np.int32], next_of: NDArray[np.int64], out: NDArray[np.int64]) -> None: ...
def gather(
    params: NDArray[np.float32], wanted: NDArray[np.int32], out: NDArray[np.float32], num_threads: int
) -> None: ...
def count(
    ordered: NDArray[np.int32],
    n_local: int,
    marks: NDArray[np.uint64],
    n_distinct: NDArray[np.int64],
    n_entries: NDArray[np.int64],
) -> None: ...
def deal(
    indptr: NDArray[np.int64],
    ordered: NDArray[np.int32],
    values: NDArray[np.float32],
    n_local: int,
    n_entries: NDArray[np.int64],
    out: NDArray[np.int32],
) -> None: ...
def take(
    dealt: NDArray[np.int32],
    n_rows: NDArray[np.int64],
    n_entries: NDArray[np.int64],
    n_local: int,
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    has_pairs: NDArray[np.uint8],
) -> bool: ...
def sum_last(rows: NDArray[np.float32]) -> float: ...
def update_bias(bias: NDArray[np.float32], gradient: float, step: Step) -> None: ...
