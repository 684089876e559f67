import numpy as np
from numpy.typing import NDArray

def mark(features: NDArray[np.int32], changed: NDArray[np.uint64]) -> None: ...
def collect(changed: NDArray[np.uint64], changed_ever: NDArray[np.uint8]) -> None: ...
def refresh(
    params: NDArray[np.float32],
    params_copy: NDArray[np.float32],
    state: NDArray[np.float32],
    state_copy: NDArray[np.float32],
    changed: NDArray[np.uint64],
) -> None: ...
