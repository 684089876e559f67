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
def score(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    labels: NDArray[np.float32],
    params: NDArray[np.float32],
    w0: float,
    sums: NDArray[np.float32],
    residuals: NDArray[np.float32],
    scores: NDArray[np.float32],
    classify: bool,
    num_threads: int,
) -> None: ...
def gradients(
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    row_values: NDArray[np.float32],
    params: NDArray[np.float32],
    sums: NDArray[np.float32],
    residuals: NDArray[np.float32],
    out: NDArray[np.float32],
    num_threads: int,
    has_pairs: NDArray[np.uint8] | None = None,
) -> None: ...
def update(
    touched: NDArray[np.int32],
    starts: NDArray[np.int64],
    at: NDArray[np.int64],
    received: NDArray[np.float32],
    totals: NDArray[np.float32],
    params: NDArray[np.float32],
    state: NDArray[np.float32],
    step: Step,
    lazy: bool,
    num_threads: int,
) -> None: ...
def update_bias(bias: NDArray[np.float32], gradient: float, step: Step) -> None: ...
