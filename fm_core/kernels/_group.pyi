import numpy as np
from numpy.typing import NDArray

def ungrouped(
    n_entries: int,
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
def group(
    indptr: NDArray[np.int64], indices: NDArray[np.int32], values: NDArray[np.float32], feature_dim: int
) -> tuple[NDArray[np.int32], NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]: ...
