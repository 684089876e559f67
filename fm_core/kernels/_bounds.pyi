import numpy as np
from numpy.typing import NDArray

def within(indptr: NDArray[np.int64], indices: NDArray[np.int32], n_values: int, feature_dim: int) -> bool: ...
