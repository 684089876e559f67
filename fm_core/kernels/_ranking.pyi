import numpy as np
from numpy.typing import NDArray

def candidate_scores(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    w: NDArray[np.float32],
    V: NDArray[np.float32],
    context_sums: NDArray[np.float32],
    sums: NDArray[np.float32],
    scores: NDArray[np.float64],
) -> None: ...
def context_sums(
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    w: NDArray[np.float32],
    V: NDArray[np.float32],
    sums: NDArray[np.float64],
    own: NDArray[np.float64],
) -> None: ...
def shared_scores(
    rows: NDArray[np.int64],
    indptr: NDArray[np.int64],
    indices: NDArray[np.int32],
    values: NDArray[np.float32],
    w: NDArray[np.float32],
    V: NDArray[np.float32],
    context_keys: NDArray[np.int32],
    context_values: NDArray[np.float32],
    context_sums: NDArray[np.float64],
    joined: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None: ...
